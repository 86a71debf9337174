//! WDFINTERRUPT: which line or message an interrupt object gets, connecting it, the ISR and what the ISR queues.

use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::*;
use wdf_sys::wdm::{
    CM_PARTIAL_RESOURCE_DESCRIPTOR, IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS, IO_CONNECT_INTERRUPT_PARAMETERS,
    IO_DISCONNECT_INTERRUPT_PARAMETERS, KDPC,
};
use wdf_sys::{BOOLEAN, FALSE, KINTERRUPT, NTSTATUS, TRUE, WDFDEVICE, WDFINTERRUPT};

use crate::call::{Call, ddi};
use crate::deferral::Deferral;
use crate::device::Device;
use crate::history::Event;
use crate::lock::{DriverSpinLock, DriverWaitLock, OwnedLock, serialized};
use crate::object::attributes::{ParentRule, Rules};
use crate::object::{Attributes, Body, Kind, NOT_DELETABLE, Object, Ref};
use crate::resources::CmList;
use crate::sync::{self, DISPATCH_LEVEL, PASSIVE_LEVEL, SpinLock};
use crate::verifier::{self, BugCheck, Rule};

/// The line or message that the PnP manager gave.
#[derive(Clone, Copy, Debug, Default)]
struct Assignment {
    vector: u32,
    irql: u8,
    affinity: usize,
    latched: bool,
    shared: bool,
    /// Message-signalled, and as which message of the device.
    message: Option<u32>,
    share_disposition: u8,
}

/// Body of a WDFINTERRUPT.
pub(crate) struct Interrupt {
    config: WDF_INTERRUPT_CONFIG,
    /// Guards the ISR where the driver gave no lock of its own.
    word: UnsafeCell<usize>,
    shared_lock: Option<Ref<DriverSpinLock>>,
    /// Guards a passive-level ISR.
    passive_lock: Option<Ref<DriverWaitLock>>,
    own_passive_lock: sync::Event,
    dpc: UnsafeCell<KDPC>,
    /// Passive-level ISR, and EvtInterruptWorkItem.
    isr_work: Deferral,
    work: Deferral,
    serialization: Option<OwnedLock>,
    assignment: SpinLock<Option<Assignment>>,
    kernel: AtomicPtr<KINTERRUPT>,
    /// EvtInterruptEnable was called, EvtInterruptDisable not yet.
    enabled: AtomicBool,
    connected_message: Message,
    /// IRQL before WdfInterruptAcquireLock; the holder's.
    held_irql: UnsafeCell<u8>,
    /// Created in EvtDevicePrepareHardware, with a resource of its own.
    own_resource: bool,
    policy: SpinLock<usize>,
}

// SAFETY: the cells are the kernel's to synchronise; the rest is atomic or behind locks.
unsafe impl Sync for Interrupt {}
// SAFETY: it moves only before it is initialised.
unsafe impl Send for Interrupt {}

impl Body for Interrupt {
    type Handle = WDFINTERRUPT;
    const KIND: Kind = Kind::Interrupt;

    fn before_cleanup(this: &Ref<Self>) {
        let _ = disable(this);
        // SAFETY: initialised; at PASSIVE_LEVEL, where interrupts are cleaned up.
        unsafe {
            KeRemoveQueueDpc(this.dpc.get());
            KeFlushQueuedDpcs();
        }
        this.isr_work.wait();
        this.work.wait();
    }
}

impl Interrupt {
    fn is_passive(&self) -> bool {
        self.config.PassiveHandling != 0
    }

    fn device(this: &Ref<Self>) -> Option<Ref<Device>> {
        this.any().ancestor::<Device>()
    }

    fn kernel(&self) -> *mut KINTERRUPT {
        self.kernel.load(Ordering::Acquire)
    }

    /// The spin lock that the ISR runs under.
    fn lock_word(&self) -> *mut usize {
        self.shared_lock.as_ref().map_or(self.word.get(), |lock| lock.word())
    }

    fn acquire_passive(&self, globals: &crate::globals::Globals) {
        match &self.passive_lock {
            Some(lock) => {
                DriverWaitLock::acquire(lock, globals, None);
            }
            None => self.own_passive_lock.wait(),
        }
    }

    fn release_passive(&self, globals: &crate::globals::Globals) {
        match &self.passive_lock {
            Some(lock) => DriverWaitLock::release(lock, globals),
            None => self.own_passive_lock.set(),
        }
    }
}

/// The object behind a context pointer, without a counted reference: the ISR runs above the IRQL at which one could be given back.
///
/// # Safety
/// `context` is [`Ref::as_context`] of an interrupt that is connected, and so whole.
unsafe fn borrowed<'a>(context: *mut c_void) -> &'a Object<Interrupt> {
    // SAFETY: the caller's promise.
    unsafe { &*context.cast::<Object<Interrupt>>() }
}

unsafe extern "win64" fn service(_kernel: *mut KINTERRUPT, context: *mut c_void) -> BOOLEAN {
    // SAFETY: connected with the object as context; it disconnects before it goes.
    let object = unsafe { borrowed(context) };
    let interrupt = &object.body;
    if interrupt.is_passive() {
        // SAFETY: `run_isr` brackets its work, and the object waits for it before it goes.
        unsafe { queue_at_dispatch(interrupt) };
        return TRUE;
    }
    let message = interrupt.message();
    match interrupt.config.EvtInterruptIsr {
        // SAFETY: the driver's ISR, at its DIRQL, holding its lock.
        Some(isr) => unsafe { isr(WDFINTERRUPT(handle_of(object)), message) },
        None => FALSE,
    }
}

fn handle_of(object: &Object<Interrupt>) -> *mut c_void {
    core::ptr::without_provenance_mut(object.header.handle)
}

/// Has the DPC queue the passive-level ISR: a worker cannot be queued above DISPATCH_LEVEL.
///
/// # Safety
/// The interrupt is connected.
unsafe fn queue_at_dispatch(interrupt: &Interrupt) {
    // SAFETY: an initialised DPC. Its first argument tells it that the ISR is still to run.
    unsafe { KeInsertQueueDpc(interrupt.dpc.get(), Later::Isr.argument(), null_mut()) };
}

/// What the DPC of an interrupt has a worker do instead of calling EvtInterruptDpc.
#[derive(Clone, Copy)]
enum Later {
    /// The ISR of a passive-level interrupt.
    Isr = 1,
    /// EvtInterruptWorkItem.
    WorkItem = 2,
}

impl Later {
    /// As the DPC's first argument.
    fn argument(self) -> *mut c_void {
        core::ptr::without_provenance_mut(self as usize)
    }
}

/// Has a worker run `routine` for the interrupt; `false` when that is to happen already.
fn queue_work(interrupt: &Ref<Interrupt>, work: &Deferral, routine: unsafe extern "win64" fn(*mut c_void)) -> bool {
    let counted = interrupt.clone().into_context();
    // SAFETY: the routines bracket their work; the counted reference keeps the object until they have run.
    let queued = unsafe { work.queue(routine, counted) };
    if !queued {
        // SAFETY: nobody took the reference over.
        drop(unsafe { Ref::<Interrupt>::from_context(counted) });
    }
    queued
}

impl Interrupt {
    /// Message number for the ISR. Read without the lock, which the ISR's IRQL forbids: the assignment does not change while connected.
    fn message(&self) -> u32 {
        self.connected_message.load()
    }
}

unsafe extern "win64" fn deferred(_dpc: *mut KDPC, context: *mut c_void, what: *mut c_void, _second: *mut c_void) {
    // SAFETY: the DPC belongs to the object, which waits for it before it goes.
    let interrupt = unsafe { Ref::<Interrupt>::borrow_context(context) };
    if what == Later::Isr.argument() {
        queue_work(&interrupt, &interrupt.isr_work, run_isr);
        return;
    }
    if what == Later::WorkItem.argument() {
        queue_work(&interrupt, &interrupt.work, run_work_item);
        return;
    }
    if let (Some(callback), Some(parent)) = (interrupt.config.EvtInterruptDpc, interrupt.any().parent()) {
        // SAFETY: the driver's callback, at DISPATCH_LEVEL, with its own objects.
        serialized(interrupt.serialization.as_ref(), || unsafe { callback(interrupt.handle(), parent.handle()) });
    }
}

unsafe extern "win64" fn run_isr(context: *mut c_void) {
    // SAFETY: the reference that `deferred` counted.
    let interrupt = unsafe { Ref::<Interrupt>::from_context(context) };
    interrupt.isr_work.begin();
    if let Some(isr) = interrupt.config.EvtInterruptIsr
        && !interrupt.kernel().is_null()
    {
        let globals = interrupt.any().globals();
        interrupt.acquire_passive(globals);
        // SAFETY: the driver's ISR, at PASSIVE_LEVEL, holding its lock.
        let _ = unsafe { isr(interrupt.handle(), interrupt.message()) };
        interrupt.release_passive(globals);
    }
    interrupt.isr_work.end();
}

unsafe extern "win64" fn run_work_item(context: *mut c_void) {
    // SAFETY: the reference that WdfInterruptQueueWorkItemForIsr counted.
    let interrupt = unsafe { Ref::<Interrupt>::from_context(context) };
    interrupt.work.begin();
    if let (Some(callback), Some(parent)) = (interrupt.config.EvtInterruptWorkItem, interrupt.any().parent()) {
        // SAFETY: the driver's callback, at PASSIVE_LEVEL, with its own objects.
        serialized(interrupt.serialization.as_ref(), || unsafe { callback(interrupt.handle(), parent.handle()) });
    }
    interrupt.work.end();
}

/// Every interrupt that a translated list describes, in order: a line each, or as many messages as the raw descriptor counts.
fn assignments(raw: &CmList, translated: &CmList) -> Result<Vec<(usize, Assignment)>, NTSTATUS> {
    let mut found = Vec::new();
    let mut message = 0;
    for index in 0..translated.len() {
        let (Some(descriptor), Some(raw)) = (translated.get(index), raw.get(index).or_else(|| translated.get(index))) else {
            continue;
        };
        if descriptor.Type != CM_RESOURCE_TYPE_INTERRUPT {
            continue;
        }
        for assignment in from_descriptor(&raw, &descriptor, &mut message) {
            found.try_reserve(1).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
            found.push((index, assignment));
        }
    }
    Ok(found)
}

/// The interrupts of one descriptor. `message` counts the device's messages on.
fn from_descriptor(
    raw: &CM_PARTIAL_RESOURCE_DESCRIPTOR,
    translated: &CM_PARTIAL_RESOURCE_DESCRIPTOR,
    message: &mut u32,
) -> impl Iterator<Item = Assignment> + use<> {
    // SAFETY: interrupt descriptors: all forms of the union are numbers.
    let (interrupt, message_count) = unsafe { (translated.u.Interrupt, raw.u.MessageInterrupt.Raw.MessageCount) };
    let is_message = translated.Flags & CM_RESOURCE_INTERRUPT_MESSAGE != 0;
    let count = if is_message { u32::from(message_count).clamp(1, 2048) } else { 1 };
    let first = *message;
    if is_message {
        *message += count;
    }
    let (vector, level, affinity) = (interrupt.Vector, interrupt.Level, interrupt.Affinity);
    let latched = translated.Flags & CM_RESOURCE_INTERRUPT_LATCHED != 0 || is_message;
    let share_disposition = translated.ShareDisposition;
    (0..count).map(move |offset| Assignment {
        vector: vector.wrapping_add(offset),
        irql: level as u8,
        affinity,
        latched,
        shared: share_disposition == CM_RESOURCE_SHARE_SHARED,
        message: is_message.then_some(first + offset),
        share_disposition,
    })
}

/// Gives each interrupt object its line or message, in the order in which the objects were created. Those left over have none.
pub(crate) fn assign_resources(device: &Ref<Device>, raw: &CmList, translated: &CmList) -> Result<(), NTSTATUS> {
    let mut given = assignments(raw, translated)?.into_iter();
    for interrupt in device.pnp.interrupts()? {
        *interrupt.assignment.lock() = given.next().map(|(_, assignment)| assignment);
    }
    Ok(())
}

/// The assignment of an interrupt that is created in EvtDevicePrepareHardware with these descriptors.
fn own_assignment(device: &Ref<Device>, config: &WDF_INTERRUPT_CONFIG) -> Result<Assignment, NTSTATUS> {
    let (raw, translated) = device.pnp.resources.lock().clone().ok_or(NTSTATUS::INVALID_DEVICE_STATE)?;
    let index = translated.position(config.InterruptTranslated).ok_or(NTSTATUS::INVALID_PARAMETER)?;
    let taken = device.pnp.interrupts()?;
    let is_free = |wanted: &Assignment| {
        !taken.iter().any(|other| {
            other.assignment.lock().is_some_and(|other| other.vector == wanted.vector && other.message == wanted.message)
        })
    };
    let mut candidates = assignments(&raw, &translated)?.into_iter().filter(|(at, _)| *at == index).map(|(_, found)| found);
    candidates.find(is_free).ok_or(NTSTATUS::INVALID_PARAMETER)
}

/// The hardware is released: assignments end, and interrupts that EvtDevicePrepareHardware created go.
pub(crate) fn release_resources(device: &Ref<Device>) {
    let mut own = Vec::new();
    {
        let mut interrupts = device.pnp.interrupts.lock();
        while let Some(at) = interrupts.iter().position(|interrupt| interrupt.own_resource) {
            if own.try_reserve(1).is_err() {
                break;
            }
            own.push(interrupts.remove(at));
        }
        for interrupt in interrupts.iter() {
            *interrupt.assignment.lock() = None;
        }
    }
    for interrupt in own {
        interrupt.delete();
    }
}

/// The highest IRQL among the device's interrupts that share this one's lock: at which all their ISRs run.
fn synchronize_irql(device: &Ref<Device>, interrupt: &Ref<Interrupt>, own: u8) -> u8 {
    let Some(lock) = &interrupt.shared_lock else { return own };
    let Ok(all) = device.pnp.interrupts() else { return own };
    all.iter()
        .filter(|other| other.shared_lock.as_ref().is_some_and(|other| other.is_same(lock)))
        .filter_map(|other| other.assignment.lock().map(|assignment| assignment.irql))
        .fold(own, u8::max)
}

fn connect(device: &Ref<Device>, interrupt: &Ref<Interrupt>) -> Result<(), NTSTATUS> {
    let Some(assignment) = *interrupt.assignment.lock() else { return Ok(()) };
    if !interrupt.kernel().is_null() {
        return Ok(());
    }
    if interrupt.is_passive() && !assignment.latched {
        // The line would interrupt for ever: nothing masks it until the ISR has run at PASSIVE_LEVEL.
        crate::report!(device.any().globals(), "passive-level handling of a level-triggered interrupt is not supported");
        return Err(NTSTATUS::NOT_SUPPORTED);
    }
    interrupt.connected_message.store(assignment.message.unwrap_or(0));
    let mut kernel: *mut KINTERRUPT = null_mut();
    let policy = *interrupt.policy.lock();
    let affinity = if policy & assignment.affinity != 0 { policy & assignment.affinity } else { assignment.affinity };
    let share = match interrupt.config.ShareVector {
        WDF_TRI_STATE::WdfTrue => true,
        WDF_TRI_STATE::WdfFalse => false,
        _ => assignment.shared,
    };
    let mut parameters = IO_CONNECT_INTERRUPT_PARAMETERS::zeroed();
    parameters.Version = CONNECT_FULLY_SPECIFIED;
    parameters.FullySpecified = IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS {
        PhysicalDeviceObject: device.pdo(),
        InterruptObject: &mut kernel,
        ServiceRoutine: Some(service),
        ServiceContext: interrupt.as_context(),
        SpinLock: interrupt.lock_word(),
        SynchronizeIrql: synchronize_irql(device, interrupt, assignment.irql),
        FloatingSave: interrupt.config.FloatingSave,
        ShareVector: share.into(),
        Vector: assignment.vector,
        Irql: assignment.irql,
        InterruptMode: if assignment.latched { LATCHED } else { LEVEL_SENSITIVE },
        ProcessorEnableMask: affinity,
        Group: 0,
    };
    // SAFETY: the parameters live through the call; object and lock outlive the connection, which ends before the object goes.
    unsafe { IoConnectInterruptEx(&mut parameters) }.ok()?;
    interrupt.kernel.store(kernel, Ordering::Release);
    let message = assignment.message.map_or(usize::MAX, |message| message as usize);
    let globals = device.any().globals();
    globals.history.record(Event::InterruptConnected, interrupt.any().raw() as usize, assignment.vector as usize, message);
    Ok(())
}

/// A call to EvtInterruptEnable or EvtInterruptDisable on its way to DIRQL.
struct Switch {
    callback: PFN_WDF_INTERRUPT_ENABLE,
    interrupt: WDFINTERRUPT,
    device: WDFDEVICE,
    status: NTSTATUS,
}

unsafe extern "win64" fn switch_at_dirql(context: *mut c_void) -> BOOLEAN {
    // SAFETY: the structure of `switch`, which waits for this call.
    let switch = unsafe { &mut *context.cast::<Switch>() };
    if let Some(callback) = switch.callback {
        // SAFETY: the driver's callback, at DIRQL and under its lock, with its own objects.
        switch.status = unsafe { callback(switch.interrupt, switch.device) };
    }
    TRUE
}

/// Calls EvtInterruptEnable or EvtInterruptDisable as its page says: at DIRQL under the interrupt's lock, or at PASSIVE_LEVEL.
fn switch(interrupt: &Ref<Interrupt>, device: &Ref<Device>, callback: PFN_WDF_INTERRUPT_ENABLE) -> NTSTATUS {
    let mut switch = Switch { callback, interrupt: interrupt.handle(), device: device.handle(), status: NTSTATUS::SUCCESS };
    if callback.is_none() {
        return NTSTATUS::SUCCESS;
    }
    let context = (&raw mut switch).cast();
    if interrupt.is_passive() {
        let globals = device.any().globals();
        interrupt.acquire_passive(globals);
        // SAFETY: the context is the structure above.
        unsafe { switch_at_dirql(context) };
        interrupt.release_passive(globals);
    } else {
        // SAFETY: a connected interrupt; the context is the structure above, which outlives the call.
        unsafe { KeSynchronizeExecution(interrupt.kernel(), Some(switch_at_dirql), context) };
    }
    switch.status
}

fn enable(interrupt: &Ref<Interrupt>) -> Result<(), NTSTATUS> {
    let Some(device) = Interrupt::device(interrupt) else { return Err(NTSTATUS::INVALID_DEVICE_STATE) };
    connect(&device, interrupt)?;
    if interrupt.kernel().is_null() || interrupt.enabled.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    let outcome = switch(interrupt, &device, interrupt.config.EvtInterruptEnable).ok();
    if outcome.is_err() {
        interrupt.enabled.store(false, Ordering::Release);
    }
    outcome
}

fn disable(interrupt: &Ref<Interrupt>) -> Result<(), NTSTATUS> {
    let mut outcome = Ok(());
    if interrupt.kernel().is_null() {
        return outcome;
    }
    if interrupt.enabled.swap(false, Ordering::AcqRel)
        && let Some(device) = Interrupt::device(interrupt)
    {
        outcome = switch(interrupt, &device, interrupt.config.EvtInterruptDisable).ok();
    }
    let kernel = interrupt.kernel.swap(null_mut(), Ordering::AcqRel);
    let mut parameters =
        IO_DISCONNECT_INTERRUPT_PARAMETERS { Version: CONNECT_FULLY_SPECIFIED, ConnectionContext: kernel.cast() };
    // SAFETY: what `connect` connected; it was taken out above, so it is disconnected once.
    unsafe { IoDisconnectInterruptEx(&mut parameters) };
    let message = interrupt.connected_message.load() as usize;
    let globals = interrupt.any().globals();
    globals.history.record(Event::InterruptDisconnected, interrupt.any().raw() as usize, 0, message);
    outcome
}

/// Connects and enables every interrupt of the device, in order of creation.
///
/// # Errors
/// What the first one returned that failed; those before it stay enabled.
pub(crate) fn enable_all(device: &Ref<Device>) -> Result<(), NTSTATUS> {
    for interrupt in device.pnp.interrupts()? {
        if let Err(status) = enable(&interrupt) {
            crate::report!(device.any().globals(), "an interrupt could not be connected or enabled: {status}");
            return Err(status);
        }
    }
    Ok(())
}

/// Disables and disconnects every interrupt of the device, in reverse order; then waits until their DPCs have run.
pub(crate) fn disable_all(device: &Ref<Device>) -> Result<(), NTSTATUS> {
    let mut outcome = Ok(());
    for interrupt in device.pnp.interrupts()?.iter().rev() {
        outcome = outcome.and(disable(interrupt));
    }
    // SAFETY: at PASSIVE_LEVEL, where devices leave D0.
    unsafe { KeFlushQueuedDpcs() };
    outcome
}

/// Checks a configuration against the state of the device and the parent.
fn check(call: &Call, device: &Ref<Device>, config: &WDF_INTERRUPT_CONFIG, attributes: &Attributes) -> Result<(), NTSTATUS> {
    let has_resources = !config.InterruptRaw.is_null() && !config.InterruptTranslated.is_null();
    let has_any = !config.InterruptRaw.is_null() || !config.InterruptTranslated.is_null();
    let preparing = device.pnp.preparing.load(Ordering::Acquire);
    if preparing && !has_resources || !preparing && !device.pnp.is_before_start() {
        return Err(NTSTATUS::INVALID_DEVICE_STATE);
    }
    let passive = config.PassiveHandling != 0;
    let wrong = !preparing && has_any
        || config.EvtInterruptIsr.is_none()
        || config.EvtInterruptDpc.is_some() && config.EvtInterruptWorkItem.is_some()
        || passive && !config.SpinLock.is_null()
        || !passive && !config.WaitLock.is_null()
        || device.is_control()
        || attributes.parent.is_some() && config.AutomaticSerialization == 0;
    if wrong {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    if let Some(parent) = &attributes.parent
        && (call.globals.version.1 <= 9 || !matches!(parent.kind(), Kind::Device | Kind::Queue))
    {
        return Err(NTSTATUS::WDF_PARENT_ASSIGNMENT_NOT_ALLOWED);
    }
    let parent = attributes.parent.as_ref().unwrap_or(device.any());
    if config.AutomaticSerialization != 0 {
        let too_low = parent.is_passive() && config.EvtInterruptDpc.is_some();
        let too_high = !parent.is_passive() && config.EvtInterruptWorkItem.is_some();
        if too_low || too_high {
            return Err(NTSTATUS::WDF_INCOMPATIBLE_EXECUTION_LEVEL);
        }
    }
    Ok(())
}

fn create(
    call: &Call,
    device: &Ref<Device>,
    config: WDF_INTERRUPT_CONFIG,
    attributes: &Attributes,
) -> Result<Ref<Interrupt>, NTSTATUS> {
    check(call, device, &config, attributes)?;
    let own_resource = device.pnp.preparing.load(Ordering::Acquire);
    let assignment = if own_resource { Some(own_assignment(device, &config)?) } else { None };
    let parent = attributes.parent.as_ref().unwrap_or(device.any());
    let serialization = if config.AutomaticSerialization != 0 { crate::lock::serialization_of(parent) } else { None };
    let body = Interrupt {
        config,
        word: UnsafeCell::new(0),
        shared_lock: call.optional_object(config.SpinLock),
        passive_lock: call.optional_object(config.WaitLock),
        own_passive_lock: sync::Event::uninitialized(),
        dpc: UnsafeCell::new(KDPC::zeroed()),
        isr_work: Deferral::uninitialized(),
        work: Deferral::uninitialized(),
        serialization,
        assignment: SpinLock::new(assignment),
        kernel: AtomicPtr::new(null_mut()),
        enabled: AtomicBool::new(false),
        connected_message: Message::default(),
        held_irql: UnsafeCell::new(0),
        own_resource,
        policy: SpinLock::new(0),
    };
    let interrupt = crate::object::create(call.globals, attributes, Some(device.any()), body)?;
    interrupt.any().set_flags(NOT_DELETABLE);
    interrupt.own_passive_lock.initialize(SYNCHRONIZATION_EVENT, true);
    interrupt.isr_work.initialize();
    interrupt.work.initialize();
    // SAFETY: the DPC stays inside the object; its context is the object itself.
    unsafe { KeInitializeDpc(interrupt.dpc.get(), Some(deferred), interrupt.as_context()) };
    let mut list = device.pnp.interrupts.lock();
    if list.try_reserve(1).is_err() {
        drop(list);
        interrupt.abandon();
        return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
    }
    list.push(interrupt.clone());
    Ok(interrupt)
}

/// Message number of a connected interrupt, for the ISR.
#[derive(Default)]
struct Message(core::sync::atomic::AtomicU32);

impl Message {
    fn load(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn store(&self, message: u32) {
        self.0.store(message, Ordering::Relaxed);
    }
}

/// The kernel's interrupt object. Using an interrupt that is not connected is a bug check, since there is nothing to lock.
fn connected(call: &Call, interrupt: &Ref<Interrupt>) -> NonNull<KINTERRUPT> {
    match NonNull::new(interrupt.kernel()) {
        Some(kernel) => kernel,
        None => {
            crate::report!(call.globals, "{}: the interrupt is not connected", call.name());
            verifier::bug_check(call.globals, BugCheck::InvalidLockOperation(interrupt.any().raw() as usize, 0));
        }
    }
}

ddi! {
    fn WdfInterruptCreate(call, device: WDFDEVICE, config: *mut WDF_INTERRUPT_CONFIG, attributes: *mut WDF_OBJECT_ATTRIBUTES, interrupt: *mut WDFINTERRUPT) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        call.write(interrupt, WDFINTERRUPT::NULL);
        let rules = Rules { parent: ParentRule::Optional, ..Rules::ORDINARY };
        // 1.9 ended before EvtInterruptWorkItem; 1.11 before CanWakeDevice.
        let created = call.sized(config, &[56, 96]).and_then(|config| {
            let attributes = Attributes::read(call, attributes, rules)?;
            create(call, &device, config, &attributes)
        });
        call.created(interrupt, created)
    }

    fn WdfInterruptQueueDpcForIsr(call, interrupt: WDFINTERRUPT) -> BOOLEAN {
        let interrupt = call.object::<Interrupt>(interrupt);
        if interrupt.config.EvtInterruptDpc.is_none() {
            return FALSE;
        }
        // SAFETY: an initialised DPC.
        unsafe { KeInsertQueueDpc(interrupt.dpc.get(), null_mut(), null_mut()) }
    }

    fn WdfInterruptQueueWorkItemForIsr(call, interrupt: WDFINTERRUPT) -> BOOLEAN {
        let interrupt = call.object::<Interrupt>(interrupt);
        if interrupt.config.EvtInterruptWorkItem.is_none() {
            return FALSE;
        }
        if sync::irql() > DISPATCH_LEVEL {
            // SAFETY: an initialised DPC, which has no other use where there is an EvtInterruptWorkItem.
            return unsafe { KeInsertQueueDpc(interrupt.dpc.get(), Later::WorkItem.argument(), null_mut()) };
        }
        queue_work(&interrupt, &interrupt.work, run_work_item).into()
    }

    fn WdfInterruptSynchronize(call, interrupt: WDFINTERRUPT, callback: PFN_WDF_INTERRUPT_SYNCHRONIZE, context: *mut c_void) -> BOOLEAN {
        let interrupt = call.object::<Interrupt>(interrupt);
        let Some(callback) = callback else { return FALSE };
        if interrupt.is_passive() {
            call.irql_at_most(PASSIVE_LEVEL);
            interrupt.acquire_passive(call.globals);
            // SAFETY: the driver's callback, under the interrupt's lock.
            let result = unsafe { callback(interrupt.handle(), context) };
            interrupt.release_passive(call.globals);
            return result;
        }
        let kernel = connected(call, &interrupt);
        // SAFETY: a connected interrupt, released below; the driver's callback runs at DIRQL under its lock.
        unsafe {
            let irql = KeAcquireInterruptSpinLock(kernel.as_ptr());
            let result = callback(interrupt.handle(), context);
            KeReleaseInterruptSpinLock(kernel.as_ptr(), irql);
            result
        }
    }

    fn WdfInterruptAcquireLock(call, interrupt: WDFINTERRUPT) {
        let interrupt = call.object::<Interrupt>(interrupt);
        if interrupt.is_passive() {
            call.irql_at_most(PASSIVE_LEVEL);
            return interrupt.acquire_passive(call.globals);
        }
        let kernel = connected(call, &interrupt);
        // SAFETY: a connected interrupt. The IRQL is kept for whoever holds the lock.
        unsafe { *interrupt.held_irql.get() = KeAcquireInterruptSpinLock(kernel.as_ptr()) };
    }

    fn WdfInterruptTryToAcquireLock(call, interrupt: WDFINTERRUPT) -> BOOLEAN {
        call.irql_at_most(PASSIVE_LEVEL);
        let interrupt = call.object::<Interrupt>(interrupt);
        if !interrupt.is_passive() {
            if call.globals.verifies() {
                verifier::violation(call.globals, Rule::WrongState, interrupt.any().raw() as usize, format_args!(
                    "WdfInterruptTryToAcquireLock is for passive-level interrupts"));
            }
            return FALSE;
        }
        match &interrupt.passive_lock {
            Some(lock) => DriverWaitLock::acquire(lock, call.globals, Some(0)).into(),
            None => interrupt.own_passive_lock.wait_until(0).into(),
        }
    }

    fn WdfInterruptReleaseLock(call, interrupt: WDFINTERRUPT) {
        let interrupt = call.object::<Interrupt>(interrupt);
        if interrupt.is_passive() {
            return interrupt.release_passive(call.globals);
        }
        let kernel = connected(call, &interrupt);
        // SAFETY: the driver holds the lock, as it says, and so the saved IRQL.
        unsafe { KeReleaseInterruptSpinLock(kernel.as_ptr(), *interrupt.held_irql.get()) };
    }

    fn WdfInterruptEnable(call, interrupt: WDFINTERRUPT) {
        call.irql_at_most(PASSIVE_LEVEL);
        if let Err(status) = enable(&call.object::<Interrupt>(interrupt)) {
            crate::report!(call.globals, "WdfInterruptEnable: {status}");
        }
    }

    fn WdfInterruptDisable(call, interrupt: WDFINTERRUPT) {
        call.irql_at_most(PASSIVE_LEVEL);
        if let Err(status) = disable(&call.object::<Interrupt>(interrupt)) {
            crate::report!(call.globals, "WdfInterruptDisable: {status}");
        }
    }

    fn WdfInterruptWdmGetInterrupt(call, interrupt: WDFINTERRUPT) -> *mut KINTERRUPT {
        call.object::<Interrupt>(interrupt).kernel()
    }

    fn WdfInterruptGetInfo(call, interrupt: WDFINTERRUPT, info: *mut WDF_INTERRUPT_INFO) {
        let interrupt = call.object::<Interrupt>(interrupt);
        // 1.9 had no Group.
        let Ok(mut copy) = call.sized(info, &[56]) else { return };
        let assignment = (*interrupt.assignment.lock()).unwrap_or_default();
        copy.TargetProcessorSet = assignment.affinity;
        copy.MessageNumber = assignment.message.unwrap_or(0);
        copy.Vector = assignment.vector;
        copy.Irql = if interrupt.is_passive() { 0 } else { assignment.irql };
        copy.Mode = if assignment.latched { LATCHED } else { LEVEL_SENSITIVE };
        copy.Polarity = WDF_INTERRUPT_POLARITY::WdfInterruptPolarityUnknown;
        copy.MessageSignaled = assignment.message.is_some().into();
        copy.ShareDisposition = assignment.share_disposition;
        let size = copy.Size as usize;
        // SAFETY: a structure of numbers, read as bytes, no more of them than the driver says its structure has.
        let bytes = unsafe { core::slice::from_raw_parts((&raw const copy).cast::<u8>(), size.min(size_of_val(&copy))) };
        call.copy_out(info.cast(), bytes);
    }

    fn WdfInterruptSetPolicy(call, interrupt: WDFINTERRUPT, _policy: WDF_INTERRUPT_POLICY, _priority: WDF_INTERRUPT_PRIORITY, processors: usize) {
        *call.object::<Interrupt>(interrupt).policy.lock() = processors;
    }

    fn WdfInterruptSetExtendedPolicy(call, interrupt: WDFINTERRUPT, policy: *mut WDF_INTERRUPT_EXTENDED_POLICY) {
        let interrupt = call.object::<Interrupt>(interrupt);
        let Ok(policy) = call.sized(policy, &[]) else { return };
        *interrupt.policy.lock() = policy.TargetProcessorSetAndGroup.Mask;
    }

    fn WdfInterruptGetDevice(call, interrupt: WDFINTERRUPT) -> WDFDEVICE {
        Interrupt::device(&call.object::<Interrupt>(interrupt)).map_or(WDFDEVICE::NULL, |device| device.handle())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message_descriptor(vector: u32, count: u16) -> (CM_PARTIAL_RESOURCE_DESCRIPTOR, CM_PARTIAL_RESOURCE_DESCRIPTOR) {
        let mut raw = CM_PARTIAL_RESOURCE_DESCRIPTOR::zeroed();
        raw.Type = CM_RESOURCE_TYPE_INTERRUPT;
        raw.Flags = CM_RESOURCE_INTERRUPT_MESSAGE | CM_RESOURCE_INTERRUPT_LATCHED;
        let mut translated = raw;
        raw.u.MessageInterrupt.Raw.MessageCount = count;
        translated.u.Interrupt.Vector = vector;
        translated.u.Interrupt.Level = 7;
        (raw, translated)
    }

    #[test]
    fn messages_are_numbered_through_all_descriptors_of_a_device() {
        let mut next = 0;
        let (raw, translated) = message_descriptor(0x51, 1);
        let first: Vec<_> = from_descriptor(&raw, &translated, &mut next).collect();
        let (raw, translated) = message_descriptor(0x60, 2);
        let others: Vec<_> = from_descriptor(&raw, &translated, &mut next).collect();

        assert_eq!(first.iter().map(|a| (a.vector, a.message)).collect::<Vec<_>>(), [(0x51, Some(0))]);
        assert_eq!(others.iter().map(|a| (a.vector, a.message)).collect::<Vec<_>>(), [(0x60, Some(1)), (0x61, Some(2))]);
        assert!(others.iter().all(|a| a.latched && a.irql == 7));
    }

    #[test]
    fn a_line_is_no_message_and_keeps_its_trigger() {
        let mut descriptor = CM_PARTIAL_RESOURCE_DESCRIPTOR::zeroed();
        descriptor.Type = CM_RESOURCE_TYPE_INTERRUPT;
        descriptor.ShareDisposition = CM_RESOURCE_SHARE_SHARED;
        descriptor.u.Interrupt.Vector = 0x91;
        let mut next = 0;
        let found: Vec<_> = from_descriptor(&descriptor, &descriptor, &mut next).collect();

        assert_eq!(found.len(), 1);
        assert_eq!((found[0].message, found[0].latched, found[0].shared, next), (None, false, true, 0));
    }
}
