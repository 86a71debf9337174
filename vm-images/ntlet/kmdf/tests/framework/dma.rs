//! DMA transactions: a buffer or a request in one transfer or several, ended as the device says.

use std::ffi::c_void;
use std::ptr::null_mut;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::*;
use wdf_sys::wdm::*;
use wdf_sys::*;

use crate::request::Sent;
use crate::rig::{Place, create_device, create_queue, device, journal, note, unmanaged, with_device};

/// Longest transfer of the device: two pages.
const LONGEST: usize = 8192;
const READ: WDF_DMA_DIRECTION = WDF_DMA_DIRECTION::WdfDmaDirectionReadFromDevice;
const WRITE: WDF_DMA_DIRECTION = WDF_DMA_DIRECTION::WdfDmaDirectionWriteToDevice;

static TRANSACTION: Place = Place::new();
static REQUEST: Place = Place::new();

fn transaction() -> WDFDMATRANSACTION {
    WDFDMATRANSACTION(TRANSACTION.get())
}

unsafe extern "win64" fn keep(_: WDFQUEUE, request: WDFREQUEST) {
    REQUEST.set(request.0);
}

fn add_with(init: *mut WDFDEVICE_INIT, profile: WDF_DMA_PROFILE) -> NTSTATUS {
    let status = create_device(init, None);
    let config = unmanaged(WDF_IO_QUEUE_CONFIG::default_queue(WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel));
    create_queue(WDF_IO_QUEUE_CONFIG { EvtIoDefault: Some(keep), ..config });
    let mut config = WDF_DMA_ENABLER_CONFIG::zeroed();
    config.Size = size_of::<WDF_DMA_ENABLER_CONFIG>() as u32;
    (config.Profile, config.MaximumLength) = (profile, LONGEST);
    let (mut enabler, mut created) = (WDFDMAENABLER::NULL, WDFDMATRANSACTION::NULL);
    assert_eq!(ddi!(WdfDmaEnablerCreate(device(), &mut config, null_mut(), &mut enabler)), NTSTATUS::SUCCESS);
    assert_eq!(ddi!(WdfDmaTransactionCreate(enabler, null_mut(), &mut created)), NTSTATUS::SUCCESS);
    TRANSACTION.set(created.0);
    status
}

fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    add_with(init, WDF_DMA_PROFILE::WdfDmaProfileScatterGather64)
}

unsafe extern "win64" fn program(
    transaction: WDFDMATRANSACTION,
    of: WDFDEVICE,
    context: *mut c_void,
    direction: WDF_DMA_DIRECTION,
    list: *mut SCATTER_GATHER_LIST,
) -> BOOLEAN {
    assert_eq!((of, context.addr()), (device(), 7));
    assert_eq!(ddi!(KeGetCurrentIrql()), 2, "EvtProgramDma is called at DISPATCH_LEVEL");
    let length = ddi!(WdfDmaTransactionGetCurrentDmaTransferLength(transaction));
    let elements = ddi!(std::slice::from_raw_parts(
        (&raw const (*list).Elements).cast::<SCATTER_GATHER_ELEMENT>(),
        (*list).NumberOfElements as usize
    ));
    let described: usize = elements.iter().map(|element| element.Length as usize).sum();
    assert_eq!(described, length, "the list describes the transfer");
    note(format!("{} {length}", if direction == READ { "read" } else { "write" }));
    TRUE
}

fn context() -> *mut c_void {
    std::ptr::without_provenance_mut(7)
}

/// Pool memory with its MDL.
struct Buffer {
    start: *mut c_void,
    mdl: *mut MDL,
}

impl Buffer {
    fn new(length: usize) -> Self {
        let start = ddi!(ExAllocatePool2(POOL_FLAG_NON_PAGED, length, 1));
        let mdl = ddi!(IoAllocateMdl(start, length as u32, FALSE, FALSE, null_mut()));
        ddi!(MmBuildMdlForNonPagedPool(mdl));
        Self { start, mdl }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        ddi!(IoFreeMdl(self.mdl));
        ddi!(ExFreePoolWithTag(self.start, 1));
    }
}

/// Tells the framework that a transfer has ended: whether that was the last, and what it says.
fn completed() -> (bool, NTSTATUS) {
    let mut status = NTSTATUS::UNSUCCESSFUL;
    let last = ddi!(WdfDmaTransactionDmaCompleted(transaction(), &mut status));
    (last != 0, status)
}

#[test]
fn a_buffer_that_is_longer_than_a_transfer_goes_in_several() {
    with_device(add, |_| {
        let buffer = Buffer::new(20_000);
        let transaction = transaction();
        let status = ddi!(WdfDmaTransactionInitialize(transaction, Some(program), WRITE, buffer.mdl, buffer.start, 20_000));
        assert_eq!(status, NTSTATUS::SUCCESS);
        assert_eq!(ddi!(WdfDmaTransactionExecute(transaction, context())), NTSTATUS::SUCCESS);
        assert_eq!(completed(), (false, NTSTATUS::MORE_PROCESSING_REQUIRED));
        assert_eq!(completed(), (false, NTSTATUS::MORE_PROCESSING_REQUIRED));
        assert_eq!(ddi!(WdfDmaTransactionGetBytesTransferred(transaction)), 2 * LONGEST);
        assert_eq!(completed(), (true, NTSTATUS::SUCCESS));
        assert_eq!(ddi!(WdfDmaTransactionGetBytesTransferred(transaction)), 20_000);
        assert_eq!(journal(), ["write 8192", "write 8192", "write 3616"]);
        assert_eq!(ddi!(WdfDmaTransactionRelease(transaction)), NTSTATUS::SUCCESS);
        assert_eq!(ddi!(WdfDmaTransactionGetDevice(transaction)), device());
    });
}

#[test]
fn what_the_device_did_not_transfer_comes_with_the_next_transfer_or_never() {
    with_device(add, |_| {
        let buffer = Buffer::new(LONGEST);
        let transaction = transaction();
        let initialize =
            || ddi!(WdfDmaTransactionInitialize(transaction, Some(program), READ, buffer.mdl, buffer.start, LONGEST));
        let mut status = NTSTATUS::SUCCESS;
        assert_eq!(initialize(), NTSTATUS::SUCCESS);
        assert_eq!(ddi!(WdfDmaTransactionExecute(transaction, context())), NTSTATUS::SUCCESS);
        assert_eq!(ddi!(WdfDmaTransactionDmaCompletedWithLength(transaction, 5000, &mut status)), FALSE);
        assert_eq!(journal(), ["read 8192", "read 3192"]);
        assert_eq!(ddi!(WdfDmaTransactionDmaCompletedFinal(transaction, 100, &mut status)), TRUE);
        assert_eq!((status, ddi!(WdfDmaTransactionGetBytesTransferred(transaction))), (NTSTATUS::SUCCESS, 5100));
        assert_eq!(initialize(), NTSTATUS::INVALID_DEVICE_REQUEST, "it is not released");
        assert_eq!(ddi!(WdfDmaTransactionRelease(transaction)), NTSTATUS::SUCCESS);
        assert_eq!(initialize(), NTSTATUS::SUCCESS);
        assert_eq!(ddi!(WdfDmaTransactionRelease(transaction)), NTSTATUS::SUCCESS);
        let refused = ddi!(WdfDmaTransactionInitialize(transaction, Some(program), READ, buffer.mdl, buffer.start, LONGEST + 1));
        assert_eq!(refused, NTSTATUS::INVALID_PARAMETER, "the MDL has no more");
    });
}

#[test]
fn a_chain_of_mdls_and_an_offset_into_it_make_one_transfer() {
    with_device(add, |_| {
        let (first, second) = (Buffer::new(1000), Buffer::new(3000));
        ddi!((*first.mdl).Next = second.mdl);
        let transaction = transaction();
        let status = ddi!(WdfDmaTransactionInitializeUsingOffset(transaction, Some(program), WRITE, first.mdl, 600, 2000));
        assert_eq!(status, NTSTATUS::SUCCESS);
        let (mut registers, mut elements) = (0, 0);
        ddi!(WdfDmaTransactionGetTransferInfo(transaction, &mut registers, &mut elements));
        assert!(elements >= 2 && registers == elements, "{registers}, {elements}");
        assert_eq!(ddi!(WdfDmaTransactionExecute(transaction, context())), NTSTATUS::SUCCESS);
        assert_eq!((completed(), journal()), ((true, NTSTATUS::SUCCESS), vec!["write 2000".into()]));
        assert_eq!(ddi!(WdfDmaTransactionRelease(transaction)), NTSTATUS::SUCCESS);
    });
}

#[test]
fn a_request_is_kept_until_its_transaction_is_released() {
    with_device(add, |rig| {
        let sent = Sent::control(rig, 0, 64);
        let (transaction, request) = (transaction(), WDFREQUEST(REQUEST.get()));
        // The test's own buffer is not memory of the simulated machine.
        let buffer = Buffer::new(64);
        ddi!((*WdfRequestWdmGetIrp(request)).AssociatedIrp.SystemBuffer = buffer.start);
        let status = ddi!(WdfDmaTransactionInitializeUsingRequest(transaction, request, Some(program), READ));
        assert_eq!(status, NTSTATUS::SUCCESS);
        assert_eq!(ddi!(WdfDmaTransactionGetRequest(transaction)), request);
        ddi!(WdfDmaTransactionSetMaximumLength(transaction, 48));
        assert_eq!(ddi!(WdfDmaTransactionExecute(transaction, context())), NTSTATUS::SUCCESS);
        assert_eq!(completed(), (false, NTSTATUS::MORE_PROCESSING_REQUIRED));
        assert_eq!(completed(), (true, NTSTATUS::SUCCESS));
        assert_eq!(journal(), ["read 48", "read 16"]);
        assert_eq!(ddi!(WdfDmaTransactionRelease(transaction)), NTSTATUS::SUCCESS);
        assert!(ddi!(WdfDmaTransactionGetRequest(transaction)).is_null());
        ddi!(WdfRequestCompleteWithInformation(request, NTSTATUS::SUCCESS, 64));
        assert_eq!((sent.wait(), sent.information()), (NTSTATUS::SUCCESS, 64));
    });
}

#[test]
fn a_packet_device_gets_one_piece_a_transfer() {
    with_device(
        |init| add_with(init, WDF_DMA_PROFILE::WdfDmaProfilePacket64),
        |_| {
            let buffer = Buffer::new(LONGEST);
            let transaction = transaction();
            let status = ddi!(WdfDmaTransactionInitialize(transaction, Some(program), READ, buffer.mdl, buffer.start, LONGEST));
            assert_eq!(status, NTSTATUS::SUCCESS);
            assert_eq!(ddi!(WdfDmaTransactionExecute(transaction, context())), NTSTATUS::SUCCESS);
            let mut transfers = 1;
            while !completed().0 {
                transfers += 1;
            }
            assert_eq!(journal().len(), transfers);
            assert_eq!(ddi!(WdfDmaTransactionGetBytesTransferred(transaction)), LONGEST);
            assert_eq!(ddi!(WdfDmaTransactionRelease(transaction)), NTSTATUS::SUCCESS);
        },
    );
}

#[test]
fn a_transfer_in_more_pieces_than_the_device_takes_is_refused_and_so_is_an_end_without_a_transfer() {
    let outcome = with_device(
        |init| {
            let status = create_device(init, None);
            let mut config = WDF_DMA_ENABLER_CONFIG::zeroed();
            config.Size = size_of::<WDF_DMA_ENABLER_CONFIG>() as u32;
            (config.Profile, config.MaximumLength) = (WDF_DMA_PROFILE::WdfDmaProfileScatterGather, LONGEST);
            let (mut enabler, mut created) = (WDFDMAENABLER::NULL, WDFDMATRANSACTION::NULL);
            assert_eq!(ddi!(WdfDmaEnablerCreate(device(), &mut config, null_mut(), &mut enabler)), NTSTATUS::SUCCESS);
            ddi!(WdfDmaEnablerSetMaximumScatterGatherElements(enabler, 1));
            assert_eq!(ddi!(WdfDmaTransactionCreate(enabler, null_mut(), &mut created)), NTSTATUS::SUCCESS);
            TRANSACTION.set(created.0);
            status
        },
        |_| {
            let buffer = Buffer::new(LONGEST);
            let initialize =
                |length| ddi!(WdfDmaTransactionInitialize(transaction(), Some(program), READ, buffer.mdl, buffer.start, length));
            assert_eq!(initialize(LONGEST), NTSTATUS::WDF_TOO_FRAGMENTED);
            assert_eq!(initialize(16), NTSTATUS::SUCCESS);
            assert_eq!(completed(), (false, NTSTATUS::INVALID_DEVICE_REQUEST));
            assert_eq!(ddi!(WdfDmaTransactionRelease(transaction())), NTSTATUS::SUCCESS);
        },
    );
    assert!(outcome.has_logged("VIOLATION of WrongState"), "{}", outcome.log);
}
