//! Structures of the framework, version 1.15 on x64.
//! Size and alignment; then offset and size of each field.

use wdf_sys::wdf::*;

#[test]
fn every_structure_has_the_layout_of_the_headers() {
    crate::layouts! {
        WDF_DRIVER_GLOBALS 56 8 {
            Driver 0 8, DriverFlags 8 4, DriverTag 12 4, DriverName 16 32, DisplaceDriverUnload 48 1,
        }
        WDF_OBJECT_ATTRIBUTES 56 8 {
            Size 0 4, EvtCleanupCallback 8 8, EvtDestroyCallback 16 8, ExecutionLevel 24 4, SynchronizationScope 28 4,
            ParentObject 32 8, ContextSizeOverride 40 8, ContextTypeInfo 48 8,
        }
        WDF_OBJECT_CONTEXT_TYPE_INFO 40 8 {
            Size 0 4, ContextName 8 8, ContextSize 16 8, UniqueType 24 8, EvtDriverGetUniqueContextType 32 8,
        }
        WDF_CUSTOM_TYPE_CONTEXT 16 8 {
            Size 0 4, Data 8 8,
        }
        WDF_DRIVER_CONFIG 32 8 {
            Size 0 4, EvtDriverDeviceAdd 8 8, EvtDriverUnload 16 8, DriverInitFlags 24 4, DriverPoolTag 28 4,
        }
        WDF_DRIVER_VERSION_AVAILABLE_PARAMS 12 4 {
            Size 0 4, MajorVersion 4 4, MinorVersion 8 4,
        }
        WDF_QUERY_INTERFACE_CONFIG 48 8 {
            Size 0 4, Interface 8 8, InterfaceType 16 8, SendQueryToParentStack 24 1, EvtDeviceProcessQueryInterfaceRequest 32 8,
            ImportInterface 40 1,
        }
        WDFMEMORY_OFFSET 16 8 {
            BufferOffset 0 8, BufferLength 8 8,
        }
        WDF_MEMORY_DESCRIPTOR 24 8 {
            Type 0 4, u 8 16, u.BufferType 8 16, u.BufferType.Buffer 8 8, u.BufferType.Length 16 4, u.MdlType 8 16,
            u.MdlType.Mdl 8 8, u.MdlType.BufferLength 16 4, u.HandleType 8 16, u.HandleType.Memory 8 8,
            u.HandleType.Offsets 16 8,
        }
        WDF_CHILD_IDENTIFICATION_DESCRIPTION_HEADER 4 4 {
            IdentificationDescriptionSize 0 4,
        }
        WDF_CHILD_ADDRESS_DESCRIPTION_HEADER 4 4 {
            AddressDescriptionSize 0 4,
        }
        WDF_CHILD_RETRIEVE_INFO 40 8 {
            Size 0 4, IdentificationDescription 8 8, AddressDescription 16 8, Status 24 4,
            EvtChildListIdentificationDescriptionCompare 32 8,
        }
        WDF_CHILD_LIST_CONFIG 96 8 {
            Size 0 4, IdentificationDescriptionSize 4 4, AddressDescriptionSize 8 4, EvtChildListCreateDevice 16 8,
            EvtChildListScanForChildren 24 8, EvtChildListIdentificationDescriptionCopy 32 8,
            EvtChildListIdentificationDescriptionDuplicate 40 8, EvtChildListIdentificationDescriptionCleanup 48 8,
            EvtChildListIdentificationDescriptionCompare 56 8, EvtChildListAddressDescriptionCopy 64 8,
            EvtChildListAddressDescriptionDuplicate 72 8, EvtChildListAddressDescriptionCleanup 80 8,
            EvtChildListDeviceReenumerated 88 8,
        }
        WDF_CHILD_LIST_ITERATOR 40 8 {
            Size 0 4, Flags 4 4, Reserved 8 32,
        }
        WDF_FILEOBJECT_CONFIG 40 8 {
            Size 0 4, EvtDeviceFileCreate 8 8, EvtFileClose 16 8, EvtFileCleanup 24 8, AutoForwardCleanupClose 32 4,
            FileObjectClass 36 4,
        }
        WDF_DEVICE_PNP_NOTIFICATION_DATA 12 4 {
            Type 0 4, Data 4 8, Data.EnterState 4 8, Data.EnterState.CurrentState 4 4, Data.EnterState.NewState 8 4,
            Data.PostProcessState 4 4, Data.PostProcessState.CurrentState 4 4, Data.LeaveState 4 8,
            Data.LeaveState.CurrentState 4 4, Data.LeaveState.NewState 8 4,
        }
        WDF_DEVICE_POWER_NOTIFICATION_DATA 12 4 {
            Type 0 4, Data 4 8, Data.EnterState 4 8, Data.EnterState.CurrentState 4 4, Data.EnterState.NewState 8 4,
            Data.PostProcessState 4 4, Data.PostProcessState.CurrentState 4 4, Data.LeaveState 4 8,
            Data.LeaveState.CurrentState 4 4, Data.LeaveState.NewState 8 4,
        }
        WDF_DEVICE_POWER_POLICY_NOTIFICATION_DATA 12 4 {
            Type 0 4, Data 4 8, Data.EnterState 4 8, Data.EnterState.CurrentState 4 4, Data.EnterState.NewState 8 4,
            Data.PostProcessState 4 4, Data.PostProcessState.CurrentState 4 4, Data.LeaveState 4 8,
            Data.LeaveState.CurrentState 4 4, Data.LeaveState.NewState 8 4,
        }
        WDF_PNPPOWER_EVENT_CALLBACKS 144 8 {
            Size 0 4, EvtDeviceD0Entry 8 8, EvtDeviceD0EntryPostInterruptsEnabled 16 8, EvtDeviceD0Exit 24 8,
            EvtDeviceD0ExitPreInterruptsDisabled 32 8, EvtDevicePrepareHardware 40 8, EvtDeviceReleaseHardware 48 8,
            EvtDeviceSelfManagedIoCleanup 56 8, EvtDeviceSelfManagedIoFlush 64 8, EvtDeviceSelfManagedIoInit 72 8,
            EvtDeviceSelfManagedIoSuspend 80 8, EvtDeviceSelfManagedIoRestart 88 8, EvtDeviceSurpriseRemoval 96 8,
            EvtDeviceQueryRemove 104 8, EvtDeviceQueryStop 112 8, EvtDeviceUsageNotification 120 8,
            EvtDeviceRelationsQuery 128 8, EvtDeviceUsageNotificationEx 136 8,
        }
        WDF_POWER_POLICY_EVENT_CALLBACKS 64 8 {
            Size 0 4, EvtDeviceArmWakeFromS0 8 8, EvtDeviceDisarmWakeFromS0 16 8, EvtDeviceWakeFromS0Triggered 24 8,
            EvtDeviceArmWakeFromSx 32 8, EvtDeviceDisarmWakeFromSx 40 8, EvtDeviceWakeFromSxTriggered 48 8,
            EvtDeviceArmWakeFromSxWithReason 56 8,
        }
        WDF_DEVICE_POWER_POLICY_IDLE_SETTINGS 36 4 {
            Size 0 4, IdleCaps 4 4, DxState 8 4, IdleTimeout 12 4, UserControlOfIdleSettings 16 4, Enabled 20 4,
            PowerUpIdleDeviceOnSystemWake 24 4, IdleTimeoutType 28 4, ExcludeD3Cold 32 4,
        }
        WDF_DEVICE_POWER_POLICY_WAKE_SETTINGS 20 4 {
            Size 0 4, DxState 4 4, UserControlOfWakeSettings 8 4, Enabled 12 4, ArmForWakeIfChildrenAreArmedForWake 16 1,
            IndicateChildWakeOnParentWake 17 1,
        }
        WDF_DEVICE_STATE 28 4 {
            Size 0 4, Disabled 4 4, DontDisplayInUI 8 4, Failed 12 4, NotDisableable 16 4, Removed 20 4, ResourcesChanged 24 4,
        }
        WDF_DEVICE_PNP_CAPABILITIES 48 4 {
            Size 0 4, LockSupported 4 4, EjectSupported 8 4, Removable 12 4, DockDevice 16 4, UniqueID 20 4, SilentInstall 24 4,
            SurpriseRemovalOK 28 4, HardwareDisabled 32 4, NoDisplayInUI 36 4, Address 40 4, UINumber 44 4,
        }
        WDF_DEVICE_POWER_CAPABILITIES 80 4 {
            Size 0 4, DeviceD1 4 4, DeviceD2 8 4, WakeFromD0 12 4, WakeFromD1 16 4, WakeFromD2 20 4, WakeFromD3 24 4,
            DeviceState 28 28, DeviceWake 56 4, SystemWake 60 4, D1Latency 64 4, D2Latency 68 4, D3Latency 72 4,
            IdealDxStateForSx 76 4,
        }
        WDF_REMOVE_LOCK_OPTIONS 8 4 {
            Size 0 4, Flags 4 4,
        }
        WDF_POWER_FRAMEWORK_SETTINGS 72 8 {
            Size 0 4, EvtDeviceWdmPostPoFxRegisterDevice 8 8, EvtDeviceWdmPrePoFxUnregisterDevice 16 8, Component 24 8,
            ComponentActiveConditionCallback 32 8, ComponentIdleConditionCallback 40 8, ComponentIdleStateCallback 48 8,
            PowerControlCallback 56 8, PoFxDeviceContext 64 8,
        }
        WDF_IO_TYPE_CONFIG 16 4 {
            Size 0 4, ReadWriteIoType 4 4, DeviceControlIoType 8 4, DirectTransferThreshold 12 4,
        }
        WDF_DEVICE_PROPERTY_DATA 24 8 {
            Size 0 4, PropertyKey 8 8, Lcid 16 4, Flags 20 4,
        }
        WDF_DPC_CONFIG 24 8 {
            Size 0 4, EvtDpcFunc 8 8, AutomaticSerialization 16 1,
        }
        WDF_TIMER_CONFIG 40 8 {
            Size 0 4, EvtTimerFunc 8 8, Period 16 4, AutomaticSerialization 20 1, TolerableDelay 24 4,
            UseHighResolutionTimer 32 1,
        }
        WDF_WORKITEM_CONFIG 24 8 {
            Size 0 4, EvtWorkItemFunc 8 8, AutomaticSerialization 16 1,
        }
        WDF_INTERRUPT_CONFIG 104 8 {
            Size 0 4, SpinLock 8 8, ShareVector 16 4, FloatingSave 20 1, AutomaticSerialization 21 1, EvtInterruptIsr 24 8,
            EvtInterruptDpc 32 8, EvtInterruptEnable 40 8, EvtInterruptDisable 48 8, EvtInterruptWorkItem 56 8,
            InterruptRaw 64 8, InterruptTranslated 72 8, WaitLock 80 8, PassiveHandling 88 1, ReportInactiveOnPowerDown 92 4,
            CanWakeDevice 96 1,
        }
        WDF_INTERRUPT_INFO 64 8 {
            Size 0 4, Reserved1 8 8, TargetProcessorSet 16 8, Reserved2 24 4, MessageNumber 28 4, Vector 32 4, Irql 36 1,
            Mode 40 4, Polarity 44 4, MessageSignaled 48 1, ShareDisposition 49 1, Group 56 2,
        }
        WDF_INTERRUPT_EXTENDED_POLICY 32 8 {
            Size 0 4, Policy 4 4, Priority 8 4, TargetProcessorSetAndGroup 16 16,
        }
        WDF_REQUEST_PARAMETERS 40 8 {
            Size 0 2, MinorFunction 2 1, Type 4 4, Parameters 8 32, Parameters.Create 8 32,
            Parameters.Create.SecurityContext 8 8, Parameters.Create.Options 16 4, Parameters.Create.FileAttributes 24 2,
            Parameters.Create.ShareAccess 26 2, Parameters.Create.EaLength 32 4, Parameters.Read 8 24,
            Parameters.Read.Length 8 8, Parameters.Read.Key 16 4, Parameters.Read.DeviceOffset 24 8, Parameters.Write 8 24,
            Parameters.Write.Length 8 8, Parameters.Write.Key 16 4, Parameters.Write.DeviceOffset 24 8,
            Parameters.DeviceIoControl 8 32, Parameters.DeviceIoControl.OutputBufferLength 8 8,
            Parameters.DeviceIoControl.InputBufferLength 16 8, Parameters.DeviceIoControl.IoControlCode 24 4,
            Parameters.DeviceIoControl.Type3InputBuffer 32 8, Parameters.Others 8 32, Parameters.Others.Arg1 8 8,
            Parameters.Others.Arg2 16 8, Parameters.Others.IoControlCode 24 4, Parameters.Others.Arg4 32 8,
        }
        WDF_REQUEST_COMPLETION_PARAMS 72 8 {
            Size 0 4, Type 4 4, IoStatus 8 16, Parameters 24 48, Parameters.Write 24 24, Parameters.Write.Buffer 24 8,
            Parameters.Write.Length 32 8, Parameters.Write.Offset 40 8, Parameters.Read 24 24, Parameters.Read.Buffer 24 8,
            Parameters.Read.Length 32 8, Parameters.Read.Offset 40 8, Parameters.Ioctl 24 48,
            Parameters.Ioctl.IoControlCode 24 4, Parameters.Ioctl.Input 32 16, Parameters.Ioctl.Input.Buffer 32 8,
            Parameters.Ioctl.Input.Offset 40 8, Parameters.Ioctl.Output 48 24, Parameters.Ioctl.Output.Buffer 48 8,
            Parameters.Ioctl.Output.Offset 56 8, Parameters.Ioctl.Output.Length 64 8, Parameters.Others 24 32,
            Parameters.Others.Argument1 24 8, Parameters.Others.Argument1.Ptr 24 8, Parameters.Others.Argument1.Value 24 8,
            Parameters.Others.Argument2 32 8, Parameters.Others.Argument2.Ptr 32 8, Parameters.Others.Argument2.Value 32 8,
            Parameters.Others.Argument3 40 8, Parameters.Others.Argument3.Ptr 40 8, Parameters.Others.Argument3.Value 40 8,
            Parameters.Others.Argument4 48 8, Parameters.Others.Argument4.Ptr 48 8, Parameters.Others.Argument4.Value 48 8,
            Parameters.Usb 24 8, Parameters.Usb.Completion 24 8,
        }
        WDF_REQUEST_REUSE_PARAMS 24 8 {
            Size 0 4, Flags 4 4, Status 8 4, NewIrp 16 8,
        }
        WDF_REQUEST_SEND_OPTIONS 16 8 {
            Size 0 4, Flags 4 4, Timeout 8 8,
        }
        WDF_REQUEST_FORWARD_OPTIONS 8 4 {
            Size 0 4, Flags 4 4,
        }
        WDF_IO_TARGET_OPEN_PARAMS 136 8 {
            Size 0 4, Type 4 4, EvtIoTargetQueryRemove 8 8, EvtIoTargetRemoveCanceled 16 8, EvtIoTargetRemoveComplete 24 8,
            TargetDeviceObject 32 8, TargetFileObject 40 8, TargetDeviceName 48 16, DesiredAccess 64 4, ShareAccess 68 4,
            FileAttributes 72 4, CreateDisposition 76 4, CreateOptions 80 4, EaBuffer 88 8, EaBufferLength 96 4,
            AllocationSize 104 8, FileInformation 112 4, FileName 120 16,
        }
        WDF_IO_QUEUE_CONFIG 96 8 {
            Size 0 4, DispatchType 4 4, PowerManaged 8 4, AllowZeroLengthRequests 12 1, DefaultQueue 13 1, EvtIoDefault 16 8,
            EvtIoRead 24 8, EvtIoWrite 32 8, EvtIoDeviceControl 40 8, EvtIoInternalDeviceControl 48 8, EvtIoStop 56 8,
            EvtIoResume 64 8, EvtIoCanceledOnQueue 72 8, Settings 80 4, Settings.Parallel 80 4,
            Settings.Parallel.NumberOfPresentedRequests 80 4, Driver 88 8,
        }
        WDF_IO_FORWARD_PROGRESS_RESERVED_POLICY_SETTINGS 8 8 {
            Policy 0 8, Policy.ExaminePolicy 0 8, Policy.ExaminePolicy.EvtIoWdmIrpForForwardProgress 0 8,
        }
        WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY 40 8 {
            Size 0 4, TotalForwardProgressRequests 4 4, ForwardProgressReservedPolicy 8 4,
            ForwardProgressReservePolicySettings 16 8, EvtIoAllocateResourcesForReservedRequest 24 8,
            EvtIoAllocateRequestResources 32 8,
        }
        WDF_FDO_EVENT_CALLBACKS 32 8 {
            Size 0 4, EvtDeviceFilterAddResourceRequirements 8 8, EvtDeviceFilterRemoveResourceRequirements 16 8,
            EvtDeviceRemoveAddedResources 24 8,
        }
        WDF_PDO_EVENT_CALLBACKS 64 8 {
            Size 0 4, EvtDeviceResourcesQuery 8 8, EvtDeviceResourceRequirementsQuery 16 8, EvtDeviceEject 24 8,
            EvtDeviceSetLock 32 8, EvtDeviceEnableWakeAtBus 40 8, EvtDeviceDisableWakeAtBus 48 8, EvtDeviceReportedMissing 56 8,
        }
        WDF_WMI_PROVIDER_CONFIG 40 8 {
            Size 0 4, Guid 4 16, Flags 20 4, MinInstanceBufferSize 24 4, EvtWmiProviderFunctionControl 32 8,
        }
        WDF_WMI_INSTANCE_CONFIG 64 8 {
            Size 0 4, Provider 8 8, ProviderConfig 16 8, UseContextForQuery 24 1, Register 25 1,
            EvtWmiInstanceQueryInstance 32 8, EvtWmiInstanceSetInstance 40 8, EvtWmiInstanceSetItem 48 8,
            EvtWmiInstanceExecuteMethod 56 8,
        }
        WDF_DMA_ENABLER_CONFIG 80 8 {
            Size 0 4, Profile 4 4, MaximumLength 8 8, EvtDmaEnablerFill 16 8, EvtDmaEnablerFlush 24 8, EvtDmaEnablerDisable 32 8,
            EvtDmaEnablerEnable 40 8, EvtDmaEnablerSelfManagedIoStart 48 8, EvtDmaEnablerSelfManagedIoStop 56 8,
            AddressWidthOverride 64 4, WdmDmaVersionOverride 68 4, Flags 72 4,
        }
        WDF_DMA_SYSTEM_PROFILE_CONFIG 32 8 {
            Size 0 4, DemandMode 4 1, LoopedTransfer 5 1, DmaWidth 8 4, DeviceAddress 16 8, DmaDescriptor 24 8,
        }
        WDF_COMMON_BUFFER_CONFIG 8 4 {
            Size 0 4, AlignmentRequirement 4 4,
        }
        WDF_POWER_ROUTINE_TIMED_OUT_DATA 32 8 {
            PowerState 0 4, PowerPolicyState 4 4, DeviceObject 8 8, Device 16 8, TimedOutThread 24 8,
        }
        WDF_REQUEST_FATAL_ERROR_INFORMATION_LENGTH_MISMATCH_DATA 40 8 {
            Request 0 8, Irp 8 8, OutputBufferLength 16 4, Information 24 8, MajorFunction 32 1,
        }
        WDF_QUEUE_FATAL_ERROR_DATA 24 8 {
            Queue 0 8, Request 8 8, Status 16 4,
        }
    }
}
