//! Who has registered, and what blocks each provides: a worker asks for them by `IRP_MN_REGINFO_EX`, as Windows does, so that a driver may
//! register from wherever it is at `PASSIVE_LEVEL`.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use wdf_sys::wdm::DEVICE_OBJECT;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::KeDelayExecutionThread;
use wdf_sys::{GUID, NTSTATUS};

use super::wnode::{append_counted, counted, guid_at, u32_at};
use super::{block, wnode};
use crate::io::watch::Patience;
use crate::io::{device, wait};
use crate::lock::SpinLock;
use crate::object::{self, ObjectRef, name};
use crate::pnp::node;

/// Flags that a caller may put into the action: a routine is registered instead of a device, for tracing alone.
const FLAG_CALLBACK: u32 = 0x8000_0000;
const ACTIONS: u32 = 0xffff;
/// Most bytes of registration information, and of an answer.
pub(super) const MOST_BYTES: usize = 1 << 20;
const FIRST_BYTES: usize = 4096;
/// Most registered devices, blocks of one, instances of one block.
const MOST_REGISTERED: usize = 1024;
const MOST_BLOCKS: usize = 512;
const MOST_INSTANCES: u32 = 1024;

/// A block of data or events that a driver provides.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) guid: GUID,
    pub(super) flags: u32,
    /// Names of its instances; empty when the driver names them itself.
    pub(super) names: Vec<Vec<u16>>,
}

/// A device that has registered.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) number: u32,
    device: ObjectRef,
    blocks: SpinLock<Arc<[Block]>>,
    /// Requests under way.
    running: AtomicUsize,
    /// No further requests.
    is_blocked: AtomicBool,
}

static PROVIDERS: SpinLock<Vec<Arc<Provider>>> = SpinLock::new(Vec::new());
static NEXT: AtomicU32 = AtomicU32::new(1);
/// Routines that were registered for tracing. No session can be started here, so that none is ever called.
static TRACERS: SpinLock<Vec<usize>> = SpinLock::new(Vec::new());

/// Who is to be asked for what it provides: all of it, or what has changed.
static TO_ASK: SpinLock<VecDeque<(Arc<Provider>, usize)>> = SpinLock::new(VecDeque::new());
/// The worker runs; another would ask out of order.
static ASKS: AtomicBool = AtomicBool::new(false);

impl Provider {
    pub(super) fn device(&self) -> *mut DEVICE_OBJECT {
        self.device.body().cast()
    }

    /// The block of this identity, if it provides one.
    pub(super) fn block(&self, guid: &GUID) -> Option<Block> {
        let blocks = self.blocks.lock().clone();
        blocks.iter().find(|block| block.guid == *guid).cloned()
    }

    /// Sends a request to the top of the device's stack and waits for its end; its status and `Information`.
    ///
    /// `PASSIVE_LEVEL`. Whoever takes the provider away waits for it.
    pub(super) fn send(&self, minor: u8, data_path: *mut c_void, buffer: &mut [u8]) -> Result<usize, NTSTATUS> {
        self.running.fetch_add(1, Ordering::AcqRel);
        let result = if self.is_blocked.load(Ordering::Acquire) {
            Err(NTSTATUS::WMI_GUID_DISCONNECTED)
        } else {
            let (address, length) = (buffer.as_mut_ptr().cast::<c_void>(), buffer.len() as u32);
            // SAFETY: the reference keeps the device; buffer and path outlive the wait.
            let block = unsafe {
                wait::send(
                    self.device(),
                    (IRP_MJ_SYSTEM_CONTROL, minor),
                    NTSTATUS::NOT_SUPPORTED,
                    Patience::Endless,
                    |irp, location| {
                        (*location).Parameters.WMI.ProviderId = self.device().expose_provenance();
                        (*location).Parameters.WMI.DataPath = data_path;
                        (*location).Parameters.WMI.BufferSize = length;
                        (*location).Parameters.WMI.Buffer = address;
                        (*irp).AssociatedIrp.SystemBuffer = address;
                    },
                )
            };
            // A driver that says that it wrote more than there is room for is not believed.
            let information = block.Information.min(buffer.len());
            if block.status().is_success() { Ok(information) } else { Err(block.status()) }
        };
        self.running.fetch_sub(1, Ordering::AcqRel);
        result
    }

    /// As [`Provider::send`], about a block.
    pub(super) fn ask(&self, minor: u8, guid: &GUID, buffer: &mut [u8]) -> Result<usize, NTSTATUS> {
        let mut path = *guid;
        self.send(minor, (&raw mut path).cast(), buffer)
    }

    /// No further requests; waits for those under way.
    fn block_requests(&self) {
        self.is_blocked.store(true, Ordering::Release);
        while self.running.load(Ordering::Acquire) != 0 {
            let mut interval = -10_000;
            // SAFETY: documented for PASSIVE_LEVEL, where a thread may sleep.
            let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
        }
    }

    /// Asks the driver for its blocks, and keeps them.
    fn learn(&self, path: usize) {
        let Some((information, is_counted)) = self.registration_information(path) else { return };
        let blocks = parse(&information, is_counted);
        let before = self.blocks.lock().clone();
        let mut known: Vec<Block> = if path == WMIUPDATE { before.to_vec() } else { Vec::new() };
        for block in blocks {
            known.retain(|other| other.guid != block.guid);
            if block.flags & WMIREG_FLAG_REMOVE_GUID == 0 && known.len() < MOST_BLOCKS {
                known.push(block);
            }
        }
        let fresh: Vec<Block> =
            known.iter().filter(|block| before.iter().all(|other| other.guid != block.guid)).cloned().collect();
        block::publish(self, &fresh, || *self.blocks.lock() = known.into());
    }

    /// The driver's answer, and whether it has referenced the devices that it names: it has by the newer request.
    fn registration_information(&self, path: usize) -> Option<(Vec<u8>, bool)> {
        let mut size = FIRST_BYTES;
        let mut minor = IRP_MN_REGINFO_EX;
        loop {
            let mut buffer = alloc::vec![0; size];
            match self.send(minor, core::ptr::without_provenance_mut(path), &mut buffer) {
                Ok(length) => {
                    buffer.truncate(length);
                    return Some((buffer, minor == IRP_MN_REGINFO_EX));
                }
                Err(NTSTATUS::BUFFER_TOO_SMALL) => {
                    let needed = u32_at(&buffer, 0).unwrap_or(0) as usize;
                    if needed <= size || needed > MOST_BYTES {
                        crate::log!("a driver that has registered with WMI wants {needed} bytes for what it provides: refused");
                        return None;
                    }
                    size = needed;
                }
                // A driver of before Windows XP knows the older request alone.
                Err(_) if minor == IRP_MN_REGINFO_EX => minor = IRP_MN_REGINFO,
                Err(status) => {
                    crate::log!("a driver that has registered with WMI does not say what it provides: {status}");
                    return None;
                }
            }
        }
    }
}

/// The blocks of a `WMIREGINFO`, and of those that follow it. What makes no sense is left out.
fn parse(bytes: &[u8], is_counted: bool) -> Vec<Block> {
    const GUIDS: usize = 24;
    const ENTRY: usize = 32;
    let mut blocks = Vec::new();
    let mut rest = bytes;
    while let Some(count) = u32_at(rest, 16) {
        for index in 0..(count as usize).min(MOST_BLOCKS) {
            let at = GUIDS + index * ENTRY;
            let Some(block) = parse_block(rest, at, is_counted) else { break };
            if blocks.len() < MOST_BLOCKS {
                blocks.push(block);
            }
        }
        let next = u32_at(rest, 4).unwrap_or(0) as usize;
        match rest.get(next..) {
            Some(following) if next >= GUIDS => rest = following,
            _ => break,
        }
    }
    blocks
}

/// A `WMIREGGUID`. A physical device that was referenced for it is dereferenced, as documented.
fn parse_block(bytes: &[u8], at: usize, is_counted: bool) -> Option<Block> {
    let guid = guid_at(bytes, at)?;
    let flags = u32_at(bytes, at + 16)?;
    let count = u32_at(bytes, at + 20)?.min(MOST_INSTANCES);
    let low = u32_at(bytes, at + 24)?;
    let high = u32_at(bytes, at + 28)?;
    let names = if flags & WMIREG_FLAG_INSTANCE_PDO != 0 {
        let pdo = usize::try_from(u64::from(high) << 32 | u64::from(low)).ok()?;
        names_of_device(pdo, count, is_counted)
    } else if flags & WMIREG_FLAG_INSTANCE_BASENAME != 0 {
        let base = name::lossy(&counted(bytes, low as usize)?);
        (0..count).map(|index| name::wide(&format!("{base}{index}"))).collect()
    } else if flags & WMIREG_FLAG_INSTANCE_LIST != 0 {
        let mut names = Vec::new();
        let mut offset = low as usize;
        for _ in 0..count {
            let Some(text) = counted(bytes, offset) else { break };
            offset += 2 + text.len() * 2;
            names.push(text);
        }
        names
    } else {
        Vec::new()
    };
    Some(Block { guid, flags, names })
}

/// Instances are named after the device: its instance path and a number.
fn names_of_device(pdo: usize, count: u32, is_counted: bool) -> Vec<Vec<u16>> {
    let pdo: *mut DEVICE_OBJECT = core::ptr::with_exposed_provenance_mut(pdo);
    // SAFETY: the driver names a device of its own; an address that is none is found out.
    let is_device = unsafe { object::is_object(pdo.cast()) && core::ptr::eq(object::type_of(pdo.cast()), &device::DEVICE) };
    if !is_device {
        crate::log!("a driver's registration with WMI names {pdo:p} as its physical device, which is none");
        return Vec::new();
    }
    // SAFETY: a device object; a reference that the driver took is ours to give back.
    unsafe {
        let path = node::of(pdo).map(|node| node.instance_path.clone());
        if is_counted {
            drop(ObjectRef::from_owned(pdo.cast()));
        }
        let Some(path) = path else { return Vec::new() };
        (0..count).map(|index| name::wide(&format!("{path}_{index}"))).collect()
    }
}

/// Every provider of a block.
pub(super) fn providers_of(guid: &GUID) -> Vec<(Arc<Provider>, Block)> {
    let providers = PROVIDERS.lock().clone();
    providers.into_iter().filter_map(|provider| provider.block(guid).map(|block| (provider, block))).collect()
}

/// The provider with this number.
pub(super) fn by_number(number: u32) -> Option<Arc<Provider>> {
    PROVIDERS.lock().iter().find(|provider| provider.number == number).cloned()
}

fn by_device(device: *mut DEVICE_OBJECT) -> Option<Arc<Provider>> {
    PROVIDERS.lock().iter().find(|provider| provider.device() == device).cloned()
}

fn ask_later(provider: Arc<Provider>, path: usize) {
    TO_ASK.lock().push_back((provider, path));
    crate::work::queue_system_work(ask_all);
}

fn ask_all() {
    while !ASKS.swap(true, Ordering::AcqRel) {
        while let Some((provider, path)) = {
            let mut waiting = TO_ASK.lock();
            waiting.pop_front()
        } {
            provider.learn(path);
        }
        ASKS.store(false, Ordering::Release);
        // What came between the last look and the mark is this worker's too.
        if TO_ASK.lock().is_empty() {
            return;
        }
    }
}

/// # Safety
/// `device` is a live device object.
unsafe fn register(device: *mut DEVICE_OBJECT) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let device = unsafe { ObjectRef::from_borrowed(device.cast()) };
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let provider = Arc::new(Provider {
        number,
        device,
        blocks: SpinLock::new(Arc::new([])),
        running: AtomicUsize::new(0),
        is_blocked: AtomicBool::new(false),
    });
    {
        let mut providers = PROVIDERS.lock();
        if providers.iter().any(|other| other.device() == provider.device()) {
            return NTSTATUS::OBJECT_NAME_EXISTS;
        }
        if providers.len() >= MOST_REGISTERED {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        providers.push(provider.clone());
    }
    ask_later(provider, WMIREGISTER);
    NTSTATUS::SUCCESS
}

fn deregister(provider: &Arc<Provider>) {
    provider.block_requests();
    PROVIDERS.lock().retain(|other| !Arc::ptr_eq(other, provider));
}

/// A device goes. One that is still registered would be asked when its driver is gone: it is said, and taken out.
pub(crate) fn device_deleted(device: *mut DEVICE_OBJECT) {
    let Some(provider) = by_device(device) else { return };
    crate::log!("a device is deleted that is still registered with WMI; its driver did not call IoWMIRegistrationControl");
    provider.is_blocked.store(true, Ordering::Release);
    PROVIDERS.lock().retain(|other| !Arc::ptr_eq(other, &provider));
}

fn control_tracer(routine: usize, action: u32) -> NTSTATUS {
    let mut tracers = TRACERS.lock();
    let known = tracers.iter().position(|other| *other == routine);
    match (action, known) {
        (WMIREG_ACTION_REGISTER, Some(_)) => NTSTATUS::OBJECT_NAME_EXISTS,
        (WMIREG_ACTION_REGISTER, None) if tracers.len() < MOST_REGISTERED => {
            tracers.push(routine);
            NTSTATUS::SUCCESS
        }
        (WMIREG_ACTION_REGISTER, None) => NTSTATUS::INSUFFICIENT_RESOURCES,
        (WMIREG_ACTION_DEREGISTER, Some(at)) => {
            tracers.swap_remove(at);
            NTSTATUS::SUCCESS
        }
        (WMIREG_ACTION_REREGISTER | WMIREG_ACTION_UPDATE_GUIDS | WMIREG_ACTION_BLOCK_IRPS, Some(_)) => NTSTATUS::SUCCESS,
        _ => NTSTATUS::INVALID_PARAMETER,
    }
}

/// # Safety
/// As the documentation of IoWMIRegistrationControl demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWMIRegistrationControl(DeviceObject: *mut DEVICE_OBJECT, Action: u32) -> NTSTATUS {
    if DeviceObject.is_null() {
        return NTSTATUS::INVALID_PARAMETER;
    }
    let action = Action & ACTIONS;
    if Action & FLAG_CALLBACK != 0 {
        return control_tracer(DeviceObject.expose_provenance(), action);
    }
    if action == WMIREG_ACTION_REGISTER {
        // SAFETY: the caller's promise: a device of its own.
        return unsafe { register(DeviceObject) };
    }
    let Some(provider) = by_device(DeviceObject) else { return NTSTATUS::INVALID_PARAMETER };
    match action {
        WMIREG_ACTION_DEREGISTER => deregister(&provider),
        WMIREG_ACTION_REREGISTER => ask_later(provider, WMIREGISTER),
        WMIREG_ACTION_UPDATE_GUIDS => ask_later(provider, WMIUPDATE),
        WMIREG_ACTION_BLOCK_IRPS => provider.block_requests(),
        _ => return NTSTATUS::INVALID_PARAMETER,
    }
    NTSTATUS::SUCCESS
}

/// The number that stands for a device in events; 0 when it has not registered.
#[unsafe(no_mangle)]
pub(crate) extern "win64" fn IoWMIDeviceObjectToProviderId(DeviceObject: *mut DEVICE_OBJECT) -> u32 {
    by_device(DeviceObject).map_or(0, |provider| provider.number)
}

/// The names of a device's instances of a block.
pub(super) fn names_by_device(device: *mut DEVICE_OBJECT, guid: &GUID) -> Option<Vec<Vec<u16>>> {
    by_device(device).and_then(|provider| provider.block(guid)).map(|block| block.names)
}

/// A node with the static names of its instances behind it, as a consumer gets it.
pub(super) fn with_names(mut node: Vec<u8>, names: &[Vec<u16>]) -> Vec<u8> {
    if names.is_empty() {
        return node;
    }
    node.resize(node.len().next_multiple_of(4), 0);
    let table = node.len();
    node.resize(table + names.len() * 4, 0);
    for (index, text) in names.iter().enumerate() {
        let at = append_counted(&mut node, text) as u32;
        wnode::put(&mut node, table + index * 4, at);
    }
    wnode::put(&mut node, wnode::all::NAME_OFFSETS, table as u32);
    let size = node.len() as u32;
    wnode::put(&mut node, wnode::BUFFER_SIZE, size);
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A registration of one block with these flags, whose instances' information is at the end.
    fn information(flags: u32, count: u32, texts: &[&str]) -> Vec<u8> {
        let mut bytes = alloc::vec![0; 56];
        wnode::put(&mut bytes, 16, 1);
        wnode::put(&mut bytes, 24, 0x1234);
        wnode::put(&mut bytes, 40, flags);
        wnode::put(&mut bytes, 44, count);
        wnode::put(&mut bytes, 48, 56);
        for text in texts {
            append_counted(&mut bytes, &name::wide(text));
        }
        let size = bytes.len() as u32;
        wnode::put(&mut bytes, 0, size);
        bytes
    }

    fn names(block: &Block) -> Vec<alloc::string::String> {
        block.names.iter().map(|text| name::lossy(text)).collect()
    }

    #[test]
    fn instances_are_named_by_a_base_name_or_by_a_list() {
        let blocks = parse(&information(WMIREG_FLAG_INSTANCE_BASENAME, 2, &["Base"]), true);
        assert_eq!(blocks[0].guid.Data1, 0x1234);
        assert_eq!(names(&blocks[0]), ["Base0", "Base1"]);
        let blocks = parse(&information(WMIREG_FLAG_INSTANCE_LIST, 2, &["one", "other"]), true);
        assert_eq!(names(&blocks[0]), ["one", "other"]);
        assert!(names(&parse(&information(0, 2, &[]), true)[0]).is_empty(), "the driver names them itself");
    }

    #[test]
    fn registrations_of_nonsense_are_cut_down_and_never_read_beyond_their_end() {
        for flags in [0, WMIREG_FLAG_INSTANCE_BASENAME, WMIREG_FLAG_INSTANCE_LIST] {
            let whole = information(flags, u32::MAX, &["Base"]);
            for length in 0..whole.len() {
                let _ = parse(&whole[..length], true);
            }
            for at in (0..whole.len() - 4).step_by(4) {
                for value in [u32::MAX, 0x7fff_ffff, 1, whole.len() as u32] {
                    let mut broken = whole.clone();
                    wnode::put(&mut broken, at, value);
                    let blocks = parse(&broken, true);
                    assert!(
                        blocks.len() <= MOST_BLOCKS && blocks.iter().all(|block| block.names.len() <= MOST_INSTANCES as usize)
                    );
                }
            }
        }
    }
}
