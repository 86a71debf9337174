//! WDFDMATRANSACTION: a buffer that goes to or from the device in one transfer or several, each no longer than the device takes.
//!
//! A transaction is initialised with a buffer, executed (EvtProgramDma is called for the first transfer), told of the end of each
//! transfer, which starts the next, and released. Scatter/gather profiles map a transfer as the adapter's list of pieces; packet profiles
//! as the one piece that `MapTransfer` gives. Transactions of system DMA controllers are refused with their enabler.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdf::*;
use wdf_sys::wdm::functions::{KeLowerIrql, KfRaiseIrql};
use wdf_sys::wdm::{DEVICE_OBJECT, IRP, MDL, SCATTER_GATHER_ELEMENT, SCATTER_GATHER_LIST};
use wdf_sys::{BOOLEAN, FALSE, NTSTATUS, TRUE, WDFDEVICE, WDFDMAENABLER, WDFDMATRANSACTION, WDFREQUEST};

use super::{Enabler, fragment_length, profile};
use crate::call::{Call, ddi, later};
use crate::device::Device;
use crate::history::Event;
use crate::object::attributes::Rules;
use crate::object::{Attributes, Body, Kind, Ref};
use crate::request::{Request, buffers};
use crate::sync::{DISPATCH_LEVEL, SpinLock};
use crate::verifier::{self, Rule};

const PAGE: usize = 4096;
/// What an adapter control routine returns to keep map registers and let the channel go: `DeallocateObjectKeepRegisters`.
const DEALLOCATE_KEEP_REGISTERS: i32 = 3;

/// How far a transaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Created or released: it has no buffer.
    Empty,
    /// It has one.
    Initialized,
    /// A transfer is being mapped, or the device's.
    Transferring,
    /// The last transfer has ended; it waits to be released.
    Ended,
}

/// A part of a chain of MDLs, and how the driver is told of it.
#[derive(Clone, Copy)]
struct Plan {
    program: PFN_WDF_PROGRAM_DMA,
    direction: WDF_DMA_DIRECTION,
    mdl: *mut MDL,
    /// Where in the chain the buffer begins.
    offset: usize,
    length: usize,
}

/// How the current transfer is mapped.
#[derive(Clone, Copy)]
enum Mapping {
    Nothing,
    /// By GetScatterGatherList.
    List(*mut SCATTER_GATHER_LIST),
    /// By MapTransfer: map registers, the piece's MDL and address.
    Packet(*mut c_void, *mut MDL, *mut c_void),
}

struct State {
    phase: Phase,
    plan: Plan,
    /// Kept until the transaction is released.
    request: Option<Ref<Request>>,
    /// WdfDmaTransactionSetMaximumLength.
    maximum: usize,
    single: bool,
    context: *mut c_void,
    /// Bytes of the transfers that have ended, and of the current one.
    transferred: usize,
    current: usize,
    mapping: Mapping,
}

// SAFETY: the pointers are to MDLs and lists that the transaction has while it is not released, and a context of the driver's.
unsafe impl Send for State {}

/// Body of a WDFDMATRANSACTION.
pub(crate) struct Transaction {
    enabler: Ref<Enabler>,
    scatters: bool,
    state: SpinLock<State>,
}

impl Body for Transaction {
    type Handle = WDFDMATRANSACTION;
    const KIND: Kind = Kind::DmaTransaction;

    fn before_cleanup(this: &Ref<Self>) {
        let _ = unmap(this);
        let request = this.state.lock().request.take();
        drop(request);
    }
}

/// First byte that an MDL describes, as an address.
unsafe fn start_of(mdl: *mut MDL) -> usize {
    // SAFETY: the caller's promise: an MDL.
    unsafe { (*mdl).StartVa.addr() + (*mdl).ByteOffset as usize }
}

/// The MDL of a chain in which the byte at `offset` lies, that byte's address, and the bytes from it to the end of the chain.
unsafe fn locate(mut mdl: *mut MDL, mut offset: usize) -> Option<(*mut MDL, *mut c_void, usize)> {
    // SAFETY: the caller's promise: a chain of MDLs.
    unsafe {
        while !mdl.is_null() && offset >= (*mdl).ByteCount as usize {
            offset -= (*mdl).ByteCount as usize;
            mdl = (*mdl).Next;
        }
        let found = mdl;
        let mut left = 0_usize;
        while !mdl.is_null() {
            left += (*mdl).ByteCount as usize;
            mdl = (*mdl).Next;
        }
        if found.is_null() {
            return None;
        }
        Some((found, core::ptr::with_exposed_provenance_mut(start_of(found) + offset), left - offset))
    }
}

/// Pages that a part of a chain touches: the pieces that it has at most.
unsafe fn pages(mdl: *mut MDL, offset: usize, mut length: usize) -> usize {
    let mut pages = 0;
    // SAFETY: the caller's promise: a chain of MDLs.
    unsafe {
        let Some((mut mdl, address, _)) = locate(mdl, offset) else { return 0 };
        let mut address = address.addr();
        while !mdl.is_null() && length != 0 {
            let part = length.min(start_of(mdl) + (*mdl).ByteCount as usize - address);
            pages += (address % PAGE + part).div_ceil(PAGE);
            length -= part;
            mdl = (*mdl).Next;
            if !mdl.is_null() {
                address = start_of(mdl);
            }
        }
    }
    pages
}

/// The longest transfer of a transaction.
fn longest(transaction: &Transaction) -> usize {
    transaction.state.lock().maximum.min(fragment_length(&transaction.enabler)).max(1)
}

fn initialize(call: &Call, transaction: &Ref<Transaction>, plan: Plan, request: Option<Ref<Request>>) -> Result<(), NTSTATUS> {
    if plan.program.is_none() || plan.length == 0 || plan.mdl.is_null() || !(0..=1).contains(&plan.direction.0) {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    // SAFETY: the driver says that this is a chain of MDLs, or it is a request's.
    let left = unsafe { locate(plan.mdl, plan.offset) }.map_or(0, |(_, _, left)| left);
    if left < plan.length {
        crate::report!(call.globals, "{}: the MDLs have {left} bytes from there on, not {}", call.name(), plan.length);
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    let first = plan.length.min(longest(transaction));
    let elements = transaction.enabler.maximum_elements.load(core::sync::atomic::Ordering::Relaxed);
    // SAFETY: as above.
    let too_many = transaction.scatters && unsafe { pages(plan.mdl, plan.offset, first) } > elements;
    let mut state = transaction.state.lock();
    if state.phase != Phase::Empty {
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    if too_many || (state.single && first < plan.length) {
        return Err(NTSTATUS::WDF_TOO_FRAGMENTED);
    }
    state.phase = Phase::Initialized;
    state.plan = plan;
    state.request = request;
    (state.transferred, state.current) = (0, 0);
    Ok(())
}

/// Maps the next transfer; EvtProgramDma is called when that is done, perhaps in here.
fn start(transaction: &Ref<Transaction>) -> Result<(), NTSTATUS> {
    let longest = longest(transaction);
    let (plan, at, length) = {
        let mut state = transaction.state.lock();
        state.current = (state.plan.length - state.transferred).min(longest);
        (state.plan, state.plan.offset + state.transferred, state.current)
    };
    // SAFETY: the chain is the transaction's until it is released, and was seen to be long enough.
    let Some((mdl, address, _)) = (unsafe { locate(plan.mdl, at) }) else { return Err(NTSTATUS::INVALID_PARAMETER) };
    let Some(device) = transaction.any().ancestor::<Device>() else { return Err(NTSTATUS::INVALID_DEVICE_STATE) };
    let length = u32::try_from(length).map_err(|_| NTSTATUS::INVALID_PARAMETER)?;
    let write = BOOLEAN::from(plan.direction == WDF_DMA_DIRECTION::WdfDmaDirectionWriteToDevice);
    let adapter = &transaction.enabler.adapter;
    let operations = adapter.operations();
    let context = transaction.clone().into_context();
    // SAFETY: the adapter is the enabler's; the routines take the counted reference over; both calls want DISPATCH_LEVEL.
    let status = unsafe {
        let irql = KfRaiseIrql(DISPATCH_LEVEL);
        let status = match (transaction.scatters, operations.GetScatterGatherList, operations.AllocateAdapterChannel) {
            (true, Some(get), _) => {
                get(adapter.0.as_ptr(), device.wdm(), mdl, address, length, Some(list_is_there), context, write)
            }
            (false, _, Some(allocate)) => {
                let registers = (address.addr() % PAGE + length as usize).div_ceil(PAGE) as u32;
                allocate(adapter.0.as_ptr(), device.wdm(), registers, Some(channel_is_there), context)
            }
            _ => NTSTATUS::NOT_SUPPORTED,
        };
        KeLowerIrql(irql);
        status
    };
    if !status.is_success() {
        // SAFETY: nobody took the reference over.
        drop(unsafe { Ref::<Transaction>::from_context(context) });
    }
    status.ok()
}

unsafe extern "win64" fn list_is_there(
    _device: *mut DEVICE_OBJECT,
    _irp: *mut IRP,
    list: *mut SCATTER_GATHER_LIST,
    context: *mut c_void,
) {
    // SAFETY: the reference of `start`.
    let transaction = unsafe { Ref::<Transaction>::from_context(context) };
    transaction.state.lock().mapping = Mapping::List(list);
    program(&transaction, list);
}

unsafe extern "win64" fn channel_is_there(
    _device: *mut DEVICE_OBJECT,
    _irp: *mut IRP,
    registers: *mut c_void,
    context: *mut c_void,
) -> i32 {
    // SAFETY: the reference of `start`.
    let transaction = unsafe { Ref::<Transaction>::from_context(context) };
    let (plan, at, length) = {
        let state = transaction.state.lock();
        (state.plan, state.plan.offset + state.transferred, state.current)
    };
    let adapter = &transaction.enabler.adapter;
    // SAFETY: as in `start`.
    let (Some((mdl, address, _)), Some(map)) = (unsafe { locate(plan.mdl, at) }, adapter.operations().MapTransfer) else {
        return DEALLOCATE_KEEP_REGISTERS;
    };
    let mut mapped = length as u32;
    let write = BOOLEAN::from(plan.direction == WDF_DMA_DIRECTION::WdfDmaDirectionWriteToDevice);
    // SAFETY: the chain is locked and has that many bytes; the map registers are those just allocated.
    let logical = unsafe { map(adapter.0.as_ptr(), mdl, registers, address, &mut mapped, write) };
    {
        let mut state = transaction.state.lock();
        // An adapter without map registers gives what is contiguous: the rest is for the next transfer.
        state.current = mapped as usize;
        state.mapping = Mapping::Packet(registers, mdl, address);
    }
    let element = SCATTER_GATHER_ELEMENT { Address: logical, Length: mapped, Reserved: 0 };
    let mut list = SCATTER_GATHER_LIST { NumberOfElements: 1, Reserved: 0, Elements: [element] };
    program(&transaction, &raw mut list);
    DEALLOCATE_KEEP_REGISTERS
}

/// EvtProgramDma for a transfer that is mapped.
fn program(transaction: &Ref<Transaction>, list: *mut SCATTER_GATHER_LIST) {
    let (plan, context, length) = {
        let state = transaction.state.lock();
        (state.plan, state.context, state.current)
    };
    // SAFETY: the adapter's list, there until it is put back.
    let elements = unsafe { (*list).NumberOfElements } as usize;
    let globals = transaction.any().globals();
    globals.history.record(Event::DmaStarted, transaction.any().raw() as usize, length, elements);
    if let (Some(program), Some(device)) = (plan.program, transaction.any().ancestor::<Device>()) {
        // SAFETY: the driver's callback, at DISPATCH_LEVEL with its own objects. What it returns is of no use, by its page.
        let _ = unsafe { program(transaction.handle(), device.handle(), context, plan.direction, list) };
    }
}

/// Gives the mapping of the current transfer back; whether there was one.
fn unmap(transaction: &Ref<Transaction>) -> bool {
    let (mapping, write, length) = {
        let mut state = transaction.state.lock();
        let write = BOOLEAN::from(state.plan.direction == WDF_DMA_DIRECTION::WdfDmaDirectionWriteToDevice);
        (core::mem::replace(&mut state.mapping, Mapping::Nothing), write, state.current)
    };
    let adapter = &transaction.enabler.adapter;
    let operations = adapter.operations();
    // SAFETY: what the adapter gave for this transfer, given back once; PutScatterGatherList wants DISPATCH_LEVEL, the others take it.
    unsafe {
        let irql = KfRaiseIrql(DISPATCH_LEVEL);
        match mapping {
            Mapping::Nothing => {}
            Mapping::List(list) => {
                if let Some(put) = operations.PutScatterGatherList {
                    put(adapter.0.as_ptr(), list, write);
                }
            }
            Mapping::Packet(registers, mdl, address) => {
                if let Some(flush) = operations.FlushAdapterBuffers {
                    flush(adapter.0.as_ptr(), mdl, registers, address, length as u32, write);
                }
                if let Some(free) = operations.FreeMapRegisters {
                    let count = (address.addr() % PAGE + length).div_ceil(PAGE) as u32;
                    free(adapter.0.as_ptr(), registers, count);
                }
            }
        }
        KeLowerIrql(irql);
    }
    !matches!(mapping, Mapping::Nothing)
}

fn wrong_state(call: &Call, transaction: &Ref<Transaction>, why: &str) -> NTSTATUS {
    if call.globals.verifies() {
        let handle = transaction.any().raw() as usize;
        verifier::violation(call.globals, Rule::WrongState, handle, format_args!("{}: {why}", call.name()));
    }
    NTSTATUS::INVALID_DEVICE_REQUEST
}

/// The current transfer has ended, after `bytes` (`None`: all of it). The next one starts, unless this was the `last`.
fn completed(call: &Call, transaction: WDFDMATRANSACTION, bytes: Option<usize>, last: bool, status: *mut NTSTATUS) -> BOOLEAN {
    call.irql_at_most(DISPATCH_LEVEL);
    let transaction = call.object::<Transaction>(transaction);
    let length = {
        let state = transaction.state.lock();
        if state.phase == Phase::Transferring { Ok(state.current) } else { Err("no transfer is under way") }
    };
    let length = length.and_then(|length| {
        let bytes = bytes.unwrap_or(length);
        if bytes > length { Err("more bytes than the transfer has") } else { Ok(bytes) }
    });
    let length = match length {
        Ok(length) => length,
        Err(why) => {
            call.write(status, wrong_state(call, &transaction, why));
            return FALSE;
        }
    };
    let _ = unmap(&transaction);
    let ended = {
        let mut state = transaction.state.lock();
        state.transferred += length;
        state.current = 0;
        let ended = last || state.transferred == state.plan.length;
        if ended {
            state.phase = Phase::Ended;
        }
        ended
    };
    let log = |result: NTSTATUS| {
        call.globals.history.record(Event::DmaEnded, transaction.any().raw() as usize, length, result.bits() as usize);
    };
    if ended {
        log(NTSTATUS::SUCCESS);
        call.write(status, NTSTATUS::SUCCESS);
        return TRUE;
    }
    log(NTSTATUS::MORE_PROCESSING_REQUIRED);
    // Before the next transfer starts: its EvtProgramDma may end the transaction, and whoever owns `status` with it.
    call.write(status, NTSTATUS::MORE_PROCESSING_REQUIRED);
    match start(&transaction) {
        Ok(()) => FALSE,
        Err(failed) => {
            transaction.state.lock().phase = Phase::Ended;
            call.write(status, failed);
            TRUE
        }
    }
}

fn create(call: &Call, enabler: &Ref<Enabler>, attributes: &Attributes) -> Result<Ref<Transaction>, NTSTATUS> {
    if let Some(parent) = &attributes.parent
        && parent.ancestor::<Device>().is_none()
    {
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    let plan = Plan { program: None, direction: WDF_DMA_DIRECTION(0), mdl: null_mut(), offset: 0, length: 0 };
    let state = State {
        phase: Phase::Empty,
        plan,
        request: None,
        maximum: usize::MAX,
        single: false,
        context: null_mut(),
        transferred: 0,
        current: 0,
        mapping: Mapping::Nothing,
    };
    let scatters = profile(enabler.config.Profile).is_some_and(|(_, scatters)| scatters);
    let body = Transaction { enabler: enabler.clone(), scatters, state: SpinLock::new(state) };
    crate::object::create(call.globals, attributes, Some(enabler.any()), body)
}

fn status_of(outcome: Result<(), NTSTATUS>) -> NTSTATUS {
    outcome.err().unwrap_or(NTSTATUS::SUCCESS)
}

ddi! {
    fn WdfDmaTransactionCreate(call, enabler: WDFDMAENABLER, attributes: *mut WDF_OBJECT_ATTRIBUTES, transaction: *mut WDFDMATRANSACTION) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(transaction, WDFDMATRANSACTION::NULL);
        let enabler = call.object::<Enabler>(enabler);
        let created = Attributes::read(call, attributes, Rules::ORDINARY).and_then(|attributes| create(call, &enabler, &attributes));
        call.created(transaction, created)
    }

    fn WdfDmaTransactionInitialize(call, transaction: WDFDMATRANSACTION, program: PFN_WDF_PROGRAM_DMA, direction: WDF_DMA_DIRECTION, mdl: *mut MDL, address: *mut c_void, length: usize) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let transaction = call.object::<Transaction>(transaction);
        let _ = (call.required(mdl), call.required(address.cast::<u8>()));
        // SAFETY: not null, and the driver says that it is an MDL.
        let Some(offset) = address.addr().checked_sub(unsafe { start_of(mdl) }) else { return NTSTATUS::INVALID_PARAMETER };
        status_of(initialize(call, &transaction, Plan { program, direction, mdl, offset, length }, None))
    }

    fn WdfDmaTransactionInitializeUsingOffset(call, transaction: WDFDMATRANSACTION, program: PFN_WDF_PROGRAM_DMA, direction: WDF_DMA_DIRECTION, mdl: *mut MDL, offset: usize, length: usize) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let transaction = call.object::<Transaction>(transaction);
        let _ = call.required(mdl);
        status_of(initialize(call, &transaction, Plan { program, direction, mdl, offset, length }, None))
    }

    fn WdfDmaTransactionInitializeUsingRequest(call, transaction: WDFDMATRANSACTION, request: WDFREQUEST, program: PFN_WDF_PROGRAM_DMA, direction: WDF_DMA_DIRECTION) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let transaction = call.object::<Transaction>(transaction);
        let request = call.object::<Request>(request);
        let write = direction == WDF_DMA_DIRECTION::WdfDmaDirectionWriteToDevice;
        let outcome = buffers::for_dma(call, &request, write).and_then(|(mdl, length)| {
            initialize(call, &transaction, Plan { program, direction, mdl, offset: 0, length }, Some(request))
        });
        status_of(outcome)
    }

    fn WdfDmaTransactionExecute(call, transaction: WDFDMATRANSACTION, context: *mut c_void) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let transaction = call.object::<Transaction>(transaction);
        let ready = {
            let mut state = transaction.state.lock();
            let ready = state.phase == Phase::Initialized;
            if ready {
                state.phase = Phase::Transferring;
                state.context = context;
            }
            ready
        };
        if !ready {
            return wrong_state(call, &transaction, "the transaction is not initialised, or is executed already");
        }
        let outcome = start(&transaction);
        if outcome.is_err() {
            transaction.state.lock().phase = Phase::Ended;
        }
        status_of(outcome)
    }

    fn WdfDmaTransactionRelease(call, transaction: WDFDMATRANSACTION) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let transaction = call.object::<Transaction>(transaction);
        if transaction.state.lock().phase == Phase::Empty {
            return wrong_state(call, &transaction, "the transaction is not initialised");
        }
        let _ = unmap(&transaction);
        let request = {
            let mut state = transaction.state.lock();
            state.phase = Phase::Empty;
            state.current = 0;
            state.context = null_mut();
            state.request.take()
        };
        drop(request);
        NTSTATUS::SUCCESS
    }

    fn WdfDmaTransactionDmaCompleted(call, transaction: WDFDMATRANSACTION, status: *mut NTSTATUS) -> BOOLEAN {
        completed(call, transaction, None, false, status)
    }

    fn WdfDmaTransactionDmaCompletedWithLength(call, transaction: WDFDMATRANSACTION, length: usize, status: *mut NTSTATUS) -> BOOLEAN {
        completed(call, transaction, Some(length), false, status)
    }

    fn WdfDmaTransactionDmaCompletedFinal(call, transaction: WDFDMATRANSACTION, length: usize, status: *mut NTSTATUS) -> BOOLEAN {
        completed(call, transaction, Some(length), true, status)
    }

    fn WdfDmaTransactionGetBytesTransferred(call, transaction: WDFDMATRANSACTION) -> usize {
        call.object::<Transaction>(transaction).state.lock().transferred
    }

    fn WdfDmaTransactionSetMaximumLength(call, transaction: WDFDMATRANSACTION, maximum: usize) {
        let transaction = call.object::<Transaction>(transaction);
        let set = {
            let mut state = transaction.state.lock();
            let may = matches!(state.phase, Phase::Empty | Phase::Initialized) && maximum != 0;
            if may {
                state.maximum = maximum;
            }
            may
        };
        if !set {
            let _ = wrong_state(call, &transaction, "the maximum length is set before the transaction is executed, and is not 0");
        }
    }

    fn WdfDmaTransactionGetRequest(call, transaction: WDFDMATRANSACTION) -> WDFREQUEST {
        let transaction = call.object::<Transaction>(transaction);
        let request = transaction.state.lock().request.clone();
        request.map_or(WDFREQUEST::NULL, |request| request.handle())
    }

    fn WdfDmaTransactionGetCurrentDmaTransferLength(call, transaction: WDFDMATRANSACTION) -> usize {
        call.object::<Transaction>(transaction).state.lock().current
    }

    fn WdfDmaTransactionGetDevice(call, transaction: WDFDMATRANSACTION) -> WDFDEVICE {
        let transaction = call.object::<Transaction>(transaction);
        transaction.enabler.any().ancestor::<Device>().map_or(WDFDEVICE::NULL, |device| device.handle())
    }

    fn WdfDmaTransactionGetTransferInfo(call, transaction: WDFDMATRANSACTION, registers: *mut u32, elements: *mut u32) {
        let transaction = call.object::<Transaction>(transaction);
        let longest = longest(&transaction);
        let plan = {
            let state = transaction.state.lock();
            (state.phase != Phase::Empty).then_some(state.plan)
        };
        let Some(plan) = plan else {
            let _ = wrong_state(call, &transaction, "the transaction is not initialised");
            return;
        };
        // SAFETY: the chain is the transaction's until it is released.
        let pages = unsafe { pages(plan.mdl, plan.offset, plan.length.min(longest)) } as u32;
        call.write_optional(registers, pages);
        call.write_optional(elements, if transaction.scatters { pages } else { 1 });
    }
}

later! { LATER:
    fn WdfDmaTransactionSetSingleTransferRequirement[444](call, transaction: WDFDMATRANSACTION, required: BOOLEAN) {
        let transaction = call.object::<Transaction>(transaction);
        let set = {
            let mut state = transaction.state.lock();
            let may = state.phase == Phase::Empty;
            if may {
                state.single = required != 0;
            }
            may
        };
        if !set {
            let _ = wrong_state(call, &transaction, "the requirement is set before the transaction is initialised");
        }
    }
}
