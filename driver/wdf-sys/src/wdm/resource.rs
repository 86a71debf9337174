//! Hardware resources, DMA adapters, bus interfaces and device capabilities.
#![allow(missing_docs, non_camel_case_types, non_snake_case, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;

use crate::layout::layouts;
use crate::types::*;
use crate::wdm::*;

layouts! {
    packed struct CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Generic = 12 {
        0 Start: i64, 8 Length: u32,
    }
    packed struct CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Port = 12 {
        0 Start: i64, 8 Length: u32,
    }
    packed struct CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Interrupt = 16 {
        0 Level: u32, 4 Vector: u32, 8 Affinity: usize,
    }
    packed struct CM_PARTIAL_RESOURCE_DESCRIPTOR_u_MessageInterrupt_Raw = 16 {
        0 Reserved: u16, 2 MessageCount: u16, 4 Vector: u32, 8 Affinity: usize,
    }
    packed struct CM_PARTIAL_RESOURCE_DESCRIPTOR_u_MessageInterrupt = 16 {
        0 Raw: CM_PARTIAL_RESOURCE_DESCRIPTOR_u_MessageInterrupt_Raw,
    }
    packed struct CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Memory = 12 {
        0 Start: i64, 8 Length: u32,
    }
    packed struct CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Dma = 12 {
        0 Channel: u32, 4 Port: u32, 8 Reserved1: u32,
    }
    packed struct CM_PARTIAL_RESOURCE_DESCRIPTOR_u_DevicePrivate = 12 {
        0 Data: [u32; 3],
    }
    packed struct CM_PARTIAL_RESOURCE_DESCRIPTOR_u_BusNumber = 12 {
        0 Start: u32, 4 Length: u32, 8 Reserved: u32,
    }
    packed struct CM_PARTIAL_RESOURCE_DESCRIPTOR_u_DeviceSpecificData = 12 {
        0 DataSize: u32, 4 Reserved1: u32, 8 Reserved2: u32,
    }
    packed struct CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Memory40 = 12 {
        0 Start: i64, 8 Length40: u32,
    }
    packed struct CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Memory48 = 12 {
        0 Start: i64, 8 Length48: u32,
    }
    packed struct CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Memory64 = 12 {
        0 Start: i64, 8 Length64: u32,
    }
    packed union CM_PARTIAL_RESOURCE_DESCRIPTOR_u = 16 {
        0 Generic: CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Generic, 0 Port: CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Port,
        0 Interrupt: CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Interrupt,
        0 MessageInterrupt: CM_PARTIAL_RESOURCE_DESCRIPTOR_u_MessageInterrupt,
        0 Memory: CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Memory, 0 Dma: CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Dma,
        0 DevicePrivate: CM_PARTIAL_RESOURCE_DESCRIPTOR_u_DevicePrivate,
        0 BusNumber: CM_PARTIAL_RESOURCE_DESCRIPTOR_u_BusNumber,
        0 DeviceSpecificData: CM_PARTIAL_RESOURCE_DESCRIPTOR_u_DeviceSpecificData,
        0 Memory40: CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Memory40, 0 Memory48: CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Memory48,
        0 Memory64: CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Memory64,
    }
    packed struct CM_PARTIAL_RESOURCE_DESCRIPTOR = 20 {
        0 Type: u8, 1 ShareDisposition: u8, 2 Flags: u16, 4 u: CM_PARTIAL_RESOURCE_DESCRIPTOR_u,
    }
    packed struct CM_PARTIAL_RESOURCE_LIST = 28 {
        0 Version: u16, 2 Revision: u16, 4 Count: u32, 8 PartialDescriptors: [CM_PARTIAL_RESOURCE_DESCRIPTOR; 1],
    }
    packed struct CM_FULL_RESOURCE_DESCRIPTOR = 36 {
        0 InterfaceType: i32, 4 BusNumber: u32, 8 PartialResourceList: CM_PARTIAL_RESOURCE_LIST,
    }
    packed struct CM_RESOURCE_LIST = 40 {
        0 Count: u32, 4 List: [CM_FULL_RESOURCE_DESCRIPTOR; 1],
    }
    struct PNP_BUS_INFORMATION = 24 {
        0 BusTypeGuid: GUID, 16 LegacyBusType: i32, 20 BusNumber: u32,
    }
    struct IO_RESOURCE_DESCRIPTOR_u_Port = 24 {
        0 Length: u32, 4 Alignment: u32, 8 MinimumAddress: i64, 16 MaximumAddress: i64,
    }
    struct IO_RESOURCE_DESCRIPTOR_u_Memory = 24 {
        0 Length: u32, 4 Alignment: u32, 8 MinimumAddress: i64, 16 MaximumAddress: i64,
    }
    struct IO_RESOURCE_DESCRIPTOR_u_Interrupt = 8 {
        0 MinimumVector: u32, 4 MaximumVector: u32,
    }
    struct IO_RESOURCE_DESCRIPTOR_u_Dma = 8 {
        0 MinimumChannel: u32, 4 MaximumChannel: u32,
    }
    struct IO_RESOURCE_DESCRIPTOR_u_Generic = 24 {
        0 Length: u32, 4 Alignment: u32, 8 MinimumAddress: i64, 16 MaximumAddress: i64,
    }
    struct IO_RESOURCE_DESCRIPTOR_u_DevicePrivate = 12 {
        0 Data: [u32; 3],
    }
    struct IO_RESOURCE_DESCRIPTOR_u_BusNumber = 16 {
        0 Length: u32, 4 MinBusNumber: u32, 8 MaxBusNumber: u32, 12 Reserved: u32,
    }
    struct IO_RESOURCE_DESCRIPTOR_u_ConfigData = 12 {
        0 Priority: u32, 4 Reserved1: u32, 8 Reserved2: u32,
    }
    union IO_RESOURCE_DESCRIPTOR_u = 24 {
        0 Port: IO_RESOURCE_DESCRIPTOR_u_Port, 0 Memory: IO_RESOURCE_DESCRIPTOR_u_Memory,
        0 Interrupt: IO_RESOURCE_DESCRIPTOR_u_Interrupt, 0 Dma: IO_RESOURCE_DESCRIPTOR_u_Dma,
        0 Generic: IO_RESOURCE_DESCRIPTOR_u_Generic, 0 DevicePrivate: IO_RESOURCE_DESCRIPTOR_u_DevicePrivate,
        0 BusNumber: IO_RESOURCE_DESCRIPTOR_u_BusNumber, 0 ConfigData: IO_RESOURCE_DESCRIPTOR_u_ConfigData,
    }
    struct IO_RESOURCE_DESCRIPTOR = 32 {
        0 Option: u8, 1 Type: u8, 2 ShareDisposition: u8, 3 Spare1: u8, 4 Flags: u16, 6 Spare2: u16,
        8 u: IO_RESOURCE_DESCRIPTOR_u,
    }
    struct IO_RESOURCE_LIST = 40 {
        0 Version: u16, 2 Revision: u16, 4 Count: u32, 8 Descriptors: [IO_RESOURCE_DESCRIPTOR; 1],
    }
    struct IO_RESOURCE_REQUIREMENTS_LIST = 72 {
        0 ListSize: u32, 4 InterfaceType: i32, 8 BusNumber: u32, 12 SlotNumber: u32, 16 Reserved: [u32; 3],
        28 AlternativeLists: u32, 32 List: [IO_RESOURCE_LIST; 1],
    }
    struct BUS_INTERFACE_STANDARD = 64 {
        0 Size: u16, 2 Version: u16, 8 Context: *mut c_void, 16 InterfaceReference: PINTERFACE_REFERENCE,
        24 InterfaceDereference: PINTERFACE_DEREFERENCE, 32 TranslateBusAddress: PTRANSLATE_BUS_ADDRESS,
        40 GetDmaAdapter: PGET_DMA_ADAPTER, 48 SetBusData: PGET_SET_DEVICE_DATA, 56 GetBusData: PGET_SET_DEVICE_DATA,
    }
    struct INTERFACE = 32 {
        0 Size: u16, 2 Version: u16, 8 Context: *mut c_void, 16 InterfaceReference: PINTERFACE_REFERENCE,
        24 InterfaceDereference: PINTERFACE_DEREFERENCE,
    }
    struct REENUMERATE_SELF_INTERFACE_STANDARD = 40 {
        0 Size: u16, 2 Version: u16, 8 Context: *mut c_void, 16 InterfaceReference: PINTERFACE_REFERENCE,
        24 InterfaceDereference: PINTERFACE_DEREFERENCE, 32 SurpriseRemoveAndReenumerateSelf: PREENUMERATE_SELF,
    }
    struct DEVICE_CAPABILITIES = 64 {
        0 Size: u16, 2 Version: u16, 4 Flags: u32, 8 Address: u32, 12 UINumber: u32, 16 DeviceState: [i32; 7],
        44 SystemWake: i32, 48 DeviceWake: i32, 52 D1Latency: u32, 56 D2Latency: u32, 60 D3Latency: u32,
    }
    struct DEVICE_DESCRIPTION = 40 {
        0 Version: u32, 4 Master: BOOLEAN, 5 ScatterGather: BOOLEAN, 6 DemandMode: BOOLEAN, 7 AutoInitialize: BOOLEAN,
        8 Dma32BitAddresses: BOOLEAN, 9 IgnoreCount: BOOLEAN, 10 Reserved1: BOOLEAN, 11 Dma64BitAddresses: BOOLEAN,
        12 BusNumber: u32, 16 DmaChannel: u32, 20 InterfaceType: i32, 24 DmaWidth: i32, 28 DmaSpeed: i32,
        32 MaximumLength: u32, 36 DmaPort: u32,
    }
    struct SCATTER_GATHER_ELEMENT = 24 {
        0 Address: i64, 8 Length: u32, 16 Reserved: usize,
    }
    struct SCATTER_GATHER_LIST = 40 {
        0 NumberOfElements: u32, 8 Reserved: usize, 16 Elements: [SCATTER_GATHER_ELEMENT; 1],
    }
    struct DMA_ADAPTER = 16 {
        0 Version: u16, 2 Size: u16, 8 DmaOperations: *mut DMA_OPERATIONS,
    }
    struct DMA_OPERATIONS = 128 {
        0 Size: u32, 8 PutDmaAdapter: PPUT_DMA_ADAPTER, 16 AllocateCommonBuffer: PALLOCATE_COMMON_BUFFER,
        24 FreeCommonBuffer: PFREE_COMMON_BUFFER, 32 AllocateAdapterChannel: PALLOCATE_ADAPTER_CHANNEL,
        40 FlushAdapterBuffers: PFLUSH_ADAPTER_BUFFERS, 48 FreeAdapterChannel: PFREE_ADAPTER_CHANNEL,
        56 FreeMapRegisters: PFREE_MAP_REGISTERS, 64 MapTransfer: PMAP_TRANSFER, 72 GetDmaAlignment: PGET_DMA_ALIGNMENT,
        80 ReadDmaCounter: PREAD_DMA_COUNTER, 88 GetScatterGatherList: PGET_SCATTER_GATHER_LIST,
        96 PutScatterGatherList: PPUT_SCATTER_GATHER_LIST,
        104 CalculateScatterGatherList: PCALCULATE_SCATTER_GATHER_LIST_SIZE,
        112 BuildScatterGatherList: PBUILD_SCATTER_GATHER_LIST,
        120 BuildMdlFromScatterGatherList: PBUILD_MDL_FROM_SCATTER_GATHER_LIST,
    }
}
