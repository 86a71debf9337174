//! Structures of the object, interrupt, timer, memory, DMA and WMI calls.
#![allow(missing_docs, non_camel_case_types, non_snake_case, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;

use crate::layout::layouts;
use crate::types::*;
use crate::wdf::*;
use crate::wdm::*;

layouts! {
    struct WDF_DRIVER_GLOBALS = 56 {
        0 Driver: WDFDRIVER, 8 DriverFlags: u32, 12 DriverTag: u32, 16 DriverName: [i8; 32],
        48 DisplaceDriverUnload: BOOLEAN,
    }
    struct WDF_OBJECT_ATTRIBUTES = 56 {
        0 Size: u32, 8 EvtCleanupCallback: PFN_WDF_OBJECT_CONTEXT_CLEANUP,
        16 EvtDestroyCallback: PFN_WDF_OBJECT_CONTEXT_DESTROY, 24 ExecutionLevel: WDF_EXECUTION_LEVEL,
        28 SynchronizationScope: WDF_SYNCHRONIZATION_SCOPE, 32 ParentObject: WDFOBJECT, 40 ContextSizeOverride: usize,
        48 ContextTypeInfo: *const WDF_OBJECT_CONTEXT_TYPE_INFO,
    }
    struct WDF_OBJECT_CONTEXT_TYPE_INFO = 40 {
        0 Size: u32, 8 ContextName: *mut i8, 16 ContextSize: usize, 24 UniqueType: *const WDF_OBJECT_CONTEXT_TYPE_INFO,
        32 EvtDriverGetUniqueContextType: PFN_GET_UNIQUE_CONTEXT_TYPE,
    }
    struct WDF_CUSTOM_TYPE_CONTEXT = 16 {
        0 Size: u32, 8 Data: usize,
    }
    struct WDF_DRIVER_CONFIG = 32 {
        0 Size: u32, 8 EvtDriverDeviceAdd: PFN_WDF_DRIVER_DEVICE_ADD, 16 EvtDriverUnload: PFN_WDF_DRIVER_UNLOAD,
        24 DriverInitFlags: u32, 28 DriverPoolTag: u32,
    }
    struct WDF_DRIVER_VERSION_AVAILABLE_PARAMS = 12 {
        0 Size: u32, 4 MajorVersion: u32, 8 MinorVersion: u32,
    }
    struct WDF_QUERY_INTERFACE_CONFIG = 48 {
        0 Size: u32, 8 Interface: *mut INTERFACE, 16 InterfaceType: *const GUID, 24 SendQueryToParentStack: BOOLEAN,
        32 EvtDeviceProcessQueryInterfaceRequest: PFN_WDF_DEVICE_PROCESS_QUERY_INTERFACE_REQUEST,
        40 ImportInterface: BOOLEAN,
    }
    struct WDFMEMORY_OFFSET = 16 {
        0 BufferOffset: usize, 8 BufferLength: usize,
    }
    struct WDF_MEMORY_DESCRIPTOR_u_BufferType = 16 {
        0 Buffer: *mut c_void, 8 Length: u32,
    }
    struct WDF_MEMORY_DESCRIPTOR_u_MdlType = 16 {
        0 Mdl: *mut MDL, 8 BufferLength: u32,
    }
    struct WDF_MEMORY_DESCRIPTOR_u_HandleType = 16 {
        0 Memory: WDFMEMORY, 8 Offsets: *mut WDFMEMORY_OFFSET,
    }
    union WDF_MEMORY_DESCRIPTOR_u = 16 {
        0 BufferType: WDF_MEMORY_DESCRIPTOR_u_BufferType, 0 MdlType: WDF_MEMORY_DESCRIPTOR_u_MdlType,
        0 HandleType: WDF_MEMORY_DESCRIPTOR_u_HandleType,
    }
    struct WDF_MEMORY_DESCRIPTOR = 24 {
        0 Type: WDF_MEMORY_DESCRIPTOR_TYPE, 8 u: WDF_MEMORY_DESCRIPTOR_u,
    }
    struct WDF_DPC_CONFIG = 24 {
        0 Size: u32, 8 EvtDpcFunc: PFN_WDF_DPC, 16 AutomaticSerialization: BOOLEAN,
    }
    struct WDF_TIMER_CONFIG = 40 {
        0 Size: u32, 8 EvtTimerFunc: PFN_WDF_TIMER, 16 Period: u32, 20 AutomaticSerialization: BOOLEAN,
        24 TolerableDelay: u32, 28 _pad0: [u8; 4], 32 UseHighResolutionTimer: BOOLEAN,
    }
    struct WDF_WORKITEM_CONFIG = 24 {
        0 Size: u32, 8 EvtWorkItemFunc: PFN_WDF_WORKITEM, 16 AutomaticSerialization: BOOLEAN,
    }
    struct WDF_INTERRUPT_CONFIG = 104 {
        0 Size: u32, 8 SpinLock: WDFSPINLOCK, 16 ShareVector: WDF_TRI_STATE, 20 FloatingSave: BOOLEAN,
        21 AutomaticSerialization: BOOLEAN, 24 EvtInterruptIsr: PFN_WDF_INTERRUPT_ISR,
        32 EvtInterruptDpc: PFN_WDF_INTERRUPT_DPC, 40 EvtInterruptEnable: PFN_WDF_INTERRUPT_ENABLE,
        48 EvtInterruptDisable: PFN_WDF_INTERRUPT_DISABLE, 56 EvtInterruptWorkItem: PFN_WDF_INTERRUPT_WORKITEM,
        64 InterruptRaw: *mut CM_PARTIAL_RESOURCE_DESCRIPTOR, 72 InterruptTranslated: *mut CM_PARTIAL_RESOURCE_DESCRIPTOR,
        80 WaitLock: WDFWAITLOCK, 88 PassiveHandling: BOOLEAN, 92 ReportInactiveOnPowerDown: WDF_TRI_STATE,
        96 CanWakeDevice: BOOLEAN,
    }
    struct WDF_INTERRUPT_INFO = 64 {
        0 Size: u32, 8 Reserved1: u64, 16 TargetProcessorSet: usize, 24 Reserved2: u32, 28 MessageNumber: u32,
        32 Vector: u32, 36 Irql: u8, 40 Mode: i32, 44 Polarity: WDF_INTERRUPT_POLARITY, 48 MessageSignaled: BOOLEAN,
        49 ShareDisposition: u8, 50 _pad0: [u8; 6], 56 Group: u16,
    }
    struct WDF_INTERRUPT_EXTENDED_POLICY = 32 {
        0 Size: u32, 4 Policy: WDF_INTERRUPT_POLICY, 8 Priority: WDF_INTERRUPT_PRIORITY,
        16 TargetProcessorSetAndGroup: GROUP_AFFINITY,
    }
    struct WDF_WMI_PROVIDER_CONFIG = 40 {
        0 Size: u32, 4 Guid: GUID, 20 Flags: u32, 24 MinInstanceBufferSize: u32,
        32 EvtWmiProviderFunctionControl: PFN_WDF_WMI_PROVIDER_FUNCTION_CONTROL,
    }
    struct WDF_WMI_INSTANCE_CONFIG = 64 {
        0 Size: u32, 8 Provider: WDFWMIPROVIDER, 16 ProviderConfig: *mut WDF_WMI_PROVIDER_CONFIG,
        24 UseContextForQuery: BOOLEAN, 25 Register: BOOLEAN,
        32 EvtWmiInstanceQueryInstance: PFN_WDF_WMI_INSTANCE_QUERY_INSTANCE,
        40 EvtWmiInstanceSetInstance: PFN_WDF_WMI_INSTANCE_SET_INSTANCE,
        48 EvtWmiInstanceSetItem: PFN_WDF_WMI_INSTANCE_SET_ITEM,
        56 EvtWmiInstanceExecuteMethod: PFN_WDF_WMI_INSTANCE_EXECUTE_METHOD,
    }
    struct WDF_DMA_ENABLER_CONFIG = 80 {
        0 Size: u32, 4 Profile: WDF_DMA_PROFILE, 8 MaximumLength: usize, 16 EvtDmaEnablerFill: PFN_WDF_DMA_ENABLER_FILL,
        24 EvtDmaEnablerFlush: PFN_WDF_DMA_ENABLER_FLUSH, 32 EvtDmaEnablerDisable: PFN_WDF_DMA_ENABLER_DISABLE,
        40 EvtDmaEnablerEnable: PFN_WDF_DMA_ENABLER_ENABLE,
        48 EvtDmaEnablerSelfManagedIoStart: PFN_WDF_DMA_ENABLER_SELFMANAGED_IO_START,
        56 EvtDmaEnablerSelfManagedIoStop: PFN_WDF_DMA_ENABLER_SELFMANAGED_IO_STOP, 64 AddressWidthOverride: u32,
        68 WdmDmaVersionOverride: u32, 72 Flags: u32,
    }
    struct WDF_DMA_SYSTEM_PROFILE_CONFIG = 32 {
        0 Size: u32, 4 DemandMode: BOOLEAN, 5 LoopedTransfer: BOOLEAN, 8 DmaWidth: i32, 16 DeviceAddress: i64,
        24 DmaDescriptor: *mut CM_PARTIAL_RESOURCE_DESCRIPTOR,
    }
    struct WDF_COMMON_BUFFER_CONFIG = 8 {
        0 Size: u32, 4 AlignmentRequirement: u32,
    }
}
