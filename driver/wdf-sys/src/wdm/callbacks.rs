//! Functions that drivers give to the kernel, and function pointers inside kernel structures.
#![allow(missing_docs, non_camel_case_types, non_snake_case, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;

use crate::layout::callbacks;
use crate::ntstatus::NTSTATUS;
use crate::types::*;
use crate::wdm::*;

callbacks! {
    PDRIVER_INITIALIZE(DriverObject: *mut DRIVER_OBJECT, RegistryPath: *mut UNICODE_STRING) -> NTSTATUS;
    PDRIVER_ADD_DEVICE(DriverObject: *mut DRIVER_OBJECT, PhysicalDeviceObject: *mut DEVICE_OBJECT) -> NTSTATUS;
    PDRIVER_UNLOAD(DriverObject: *mut DRIVER_OBJECT);
    PDRIVER_DISPATCH(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP) -> NTSTATUS;
    PDRIVER_CANCEL(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP);
    PDRIVER_STARTIO(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP);
    PIO_COMPLETION_ROUTINE(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP, Context: *mut c_void) -> NTSTATUS;
    PIO_APC_ROUTINE(ApcContext: *mut c_void, IoStatusBlock: *mut IO_STATUS_BLOCK, Reserved: u32);
    PIO_WORKITEM_ROUTINE(DeviceObject: *mut DEVICE_OBJECT, Context: *mut c_void);
    PWORKER_THREAD_ROUTINE(Parameter: *mut c_void);
    PKSTART_ROUTINE(StartContext: *mut c_void);
    PKDEFERRED_ROUTINE(Dpc: *mut KDPC, DeferredContext: *mut c_void, SystemArgument1: *mut c_void, SystemArgument2: *mut c_void);
    PKSERVICE_ROUTINE(Interrupt: *mut KINTERRUPT, ServiceContext: *mut c_void) -> BOOLEAN;
    PKMESSAGE_SERVICE_ROUTINE(Interrupt: *mut KINTERRUPT, ServiceContext: *mut c_void, MessageId: u32) -> BOOLEAN;
    PKSYNCHRONIZE_ROUTINE(SynchronizeContext: *mut c_void) -> BOOLEAN;
    PKBUGCHECK_CALLBACK_ROUTINE(Buffer: *mut c_void, Length: u32);
    PKBUGCHECK_REASON_CALLBACK_ROUTINE(Reason: i32, Record: *mut KBUGCHECK_REASON_CALLBACK_RECORD, ReasonSpecificData: *mut c_void, ReasonSpecificDataLength: u32);
    PREQUEST_POWER_COMPLETE(DeviceObject: *mut DEVICE_OBJECT, MinorFunction: u8, PowerState: POWER_STATE, Context: *mut c_void, IoStatus: *mut IO_STATUS_BLOCK);
    PDRIVER_NOTIFICATION_CALLBACK_ROUTINE(NotificationStructure: *mut c_void, Context: *mut c_void) -> NTSTATUS;
    PRTL_QUERY_REGISTRY_ROUTINE(ValueName: *mut u16, ValueType: u32, ValueData: *mut c_void, ValueLength: u32, Context: *mut c_void, EntryContext: *mut c_void) -> NTSTATUS;
    PINTERFACE_REFERENCE(Context: *mut c_void);
    PINTERFACE_DEREFERENCE(Context: *mut c_void);
    PREENUMERATE_SELF(Context: *mut c_void);
    PTRANSLATE_BUS_ADDRESS(Context: *mut c_void, BusAddress: i64, Length: u32, AddressSpace: *mut u32, TranslatedAddress: *mut i64) -> BOOLEAN;
    PGET_DMA_ADAPTER(Context: *mut c_void, DeviceDescriptor: *mut DEVICE_DESCRIPTION, NumberOfMapRegisters: *mut u32) -> *mut DMA_ADAPTER;
    PGET_SET_DEVICE_DATA(Context: *mut c_void, DataType: u32, Buffer: *mut c_void, Offset: u32, Length: u32) -> u32;
    PPUT_DMA_ADAPTER(DmaAdapter: *mut DMA_ADAPTER);
    PALLOCATE_COMMON_BUFFER(DmaAdapter: *mut DMA_ADAPTER, Length: u32, LogicalAddress: *mut i64, CacheEnabled: BOOLEAN) -> *mut c_void;
    PFREE_COMMON_BUFFER(DmaAdapter: *mut DMA_ADAPTER, Length: u32, LogicalAddress: i64, VirtualAddress: *mut c_void, CacheEnabled: BOOLEAN);
    PDRIVER_CONTROL(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP, MapRegisterBase: *mut c_void, Context: *mut c_void) -> i32;
    PDRIVER_LIST_CONTROL(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP, ScatterGather: *mut SCATTER_GATHER_LIST, Context: *mut c_void);
    PALLOCATE_ADAPTER_CHANNEL(DmaAdapter: *mut DMA_ADAPTER, DeviceObject: *mut DEVICE_OBJECT, NumberOfMapRegisters: u32, ExecutionRoutine: PDRIVER_CONTROL, Context: *mut c_void) -> NTSTATUS;
    PFLUSH_ADAPTER_BUFFERS(DmaAdapter: *mut DMA_ADAPTER, Mdl: *mut MDL, MapRegisterBase: *mut c_void, CurrentVa: *mut c_void, Length: u32, WriteToDevice: BOOLEAN) -> BOOLEAN;
    PFREE_ADAPTER_CHANNEL(DmaAdapter: *mut DMA_ADAPTER);
    PFREE_MAP_REGISTERS(DmaAdapter: *mut DMA_ADAPTER, MapRegisterBase: *mut c_void, NumberOfMapRegisters: u32);
    PMAP_TRANSFER(DmaAdapter: *mut DMA_ADAPTER, Mdl: *mut MDL, MapRegisterBase: *mut c_void, CurrentVa: *mut c_void, Length: *mut u32, WriteToDevice: BOOLEAN) -> i64;
    PGET_DMA_ALIGNMENT(DmaAdapter: *mut DMA_ADAPTER) -> u32;
    PREAD_DMA_COUNTER(DmaAdapter: *mut DMA_ADAPTER) -> u32;
    PGET_SCATTER_GATHER_LIST(DmaAdapter: *mut DMA_ADAPTER, DeviceObject: *mut DEVICE_OBJECT, Mdl: *mut MDL, CurrentVa: *mut c_void, Length: u32, ExecutionRoutine: PDRIVER_LIST_CONTROL, Context: *mut c_void, WriteToDevice: BOOLEAN) -> NTSTATUS;
    PPUT_SCATTER_GATHER_LIST(DmaAdapter: *mut DMA_ADAPTER, ScatterGather: *mut SCATTER_GATHER_LIST, WriteToDevice: BOOLEAN);
    PCALCULATE_SCATTER_GATHER_LIST_SIZE(DmaAdapter: *mut DMA_ADAPTER, Mdl: *mut MDL, CurrentVa: *mut c_void, Length: u32, ScatterGatherListSize: *mut u32, NumberOfMapRegisters: *mut u32) -> NTSTATUS;
    PBUILD_SCATTER_GATHER_LIST(DmaAdapter: *mut DMA_ADAPTER, DeviceObject: *mut DEVICE_OBJECT, Mdl: *mut MDL, CurrentVa: *mut c_void, Length: u32, ExecutionRoutine: PDRIVER_LIST_CONTROL, Context: *mut c_void, WriteToDevice: BOOLEAN, ScatterGatherBuffer: *mut c_void, ScatterGatherLength: u32) -> NTSTATUS;
    PBUILD_MDL_FROM_SCATTER_GATHER_LIST(DmaAdapter: *mut DMA_ADAPTER, ScatterGather: *mut SCATTER_GATHER_LIST, OriginalMdl: *mut MDL, TargetMdl: *mut *mut MDL) -> NTSTATUS;
}
