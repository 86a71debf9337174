//! Structures of the kernel, x64.
//! Size and alignment; then offset and size of each field.

use wdf_sys::GUID;
use wdf_sys::wdm::*;

#[test]
fn every_structure_has_the_layout_of_the_headers() {
    crate::layouts! {
        UNICODE_STRING 16 8 {
            Length 0 2, MaximumLength 2 2, Buffer 8 8,
        }
        OBJECT_ATTRIBUTES 48 8 {
            Length 0 4, RootDirectory 8 8, ObjectName 16 8, Attributes 24 4, SecurityDescriptor 32 8,
            SecurityQualityOfService 40 8,
        }
        LIST_ENTRY 16 8 {
            Flink 0 8, Blink 8 8,
        }
        GUID 16 4 {
            Data1 0 4, Data2 4 2, Data3 6 2, Data4 8 8,
        }
        TIME_FIELDS 16 2 {
            Year 0 2, Month 2 2, Day 4 2, Hour 6 2, Minute 8 2, Second 10 2, Milliseconds 12 2, Weekday 14 2,
        }
        KWAIT_BLOCK 48 8 {
            WaitListEntry 0 16, Thread 16 8, Object 24 8, NextWaitBlock 32 8, WaitKey 40 2, WaitType 42 1, BlockState 43 1,
            SpareLong 44 4,
        }
        KDPC 64 8 {
            Type 0 1, Importance 1 1, Number 2 2, DpcListEntry 8 16, DeferredRoutine 24 8, DeferredContext 32 8,
            SystemArgument1 40 8, SystemArgument2 48 8, DpcData 56 8,
        }
        DISPATCHER_HEADER 24 8 {
            Type 0 1, Signalling 1 1, Size 2 1, Inserted 3 1, SignalState 4 4, WaitListHead 8 16,
        }
        KEVENT 24 8 {
            Header 0 24,
        }
        KSEMAPHORE 32 8 {
            Header 0 24, Limit 24 4,
        }
        KMUTANT 56 8 {
            Header 0 24, MutantListEntry 24 16, OwnerThread 40 8, Abandoned 48 1, ApcDisable 49 1,
        }
        KTIMER 64 8 {
            Header 0 24, DueTime 24 8, TimerListEntry 32 16, Dpc 48 8, Processor 56 4, Period 60 4,
        }
        MDL 48 8 {
            Next 0 8, Size 8 2, MdlFlags 10 2, Process 16 8, MappedSystemVa 24 8, StartVa 32 8, ByteCount 40 4, ByteOffset 44 4,
        }
        FAST_MUTEX 56 8 {
            Count 0 4, Owner 8 8, Contention 16 4, Event 24 24, OldIrql 48 4,
        }
        WORK_QUEUE_ITEM 32 8 {
            List 0 16, WorkerRoutine 16 8, Parameter 24 8,
        }
        SECURITY_SUBJECT_CONTEXT 32 8 {
            ClientToken 0 8, ImpersonationLevel 8 4, PrimaryToken 16 8, ProcessAuditId 24 8,
        }
        POWER_STATE 4 4 {
            SystemState 0 4, DeviceState 0 4,
        }
        CM_PARTIAL_RESOURCE_DESCRIPTOR 20 4 {
            Type 0 1, ShareDisposition 1 1, Flags 2 2, u 4 16, u.Generic 4 12, u.Generic.Start 4 8, u.Generic.Length 12 4,
            u.Port 4 12, u.Port.Start 4 8, u.Port.Length 12 4, u.Interrupt 4 16, u.Interrupt.Level 4 4, u.Interrupt.Vector 8 4,
            u.Interrupt.Affinity 12 8, u.MessageInterrupt 4 16, u.MessageInterrupt.Raw 4 16, u.MessageInterrupt.Raw.Reserved 4 2,
            u.MessageInterrupt.Raw.MessageCount 6 2, u.MessageInterrupt.Raw.Vector 8 4, u.MessageInterrupt.Raw.Affinity 12 8,
            u.Memory 4 12, u.Memory.Start 4 8, u.Memory.Length 12 4, u.Dma 4 12, u.Dma.Channel 4 4, u.Dma.Port 8 4,
            u.Dma.Reserved1 12 4, u.DevicePrivate 4 12, u.DevicePrivate.Data 4 12, u.BusNumber 4 12, u.BusNumber.Start 4 4,
            u.BusNumber.Length 8 4, u.BusNumber.Reserved 12 4, u.DeviceSpecificData 4 12, u.DeviceSpecificData.DataSize 4 4,
            u.DeviceSpecificData.Reserved1 8 4, u.DeviceSpecificData.Reserved2 12 4, u.Memory40 4 12, u.Memory40.Start 4 8,
            u.Memory40.Length40 12 4, u.Memory48 4 12, u.Memory48.Start 4 8, u.Memory48.Length48 12 4, u.Memory64 4 12,
            u.Memory64.Start 4 8, u.Memory64.Length64 12 4,
        }
        CM_PARTIAL_RESOURCE_LIST 28 4 {
            Version 0 2, Revision 2 2, Count 4 4, PartialDescriptors 8 20,
        }
        CM_FULL_RESOURCE_DESCRIPTOR 36 4 {
            InterfaceType 0 4, BusNumber 4 4, PartialResourceList 8 28,
        }
        CM_RESOURCE_LIST 40 4 {
            Count 0 4, List 4 36,
        }
        PNP_BUS_INFORMATION 24 4 {
            BusTypeGuid 0 16, LegacyBusType 16 4, BusNumber 20 4,
        }
        DEVICE_OBJECT 328 8 {
            Type 0 2, Size 2 2, ReferenceCount 4 4, DriverObject 8 8, NextDevice 16 8, AttachedDevice 24 8, CurrentIrp 32 8,
            Timer 40 8, Flags 48 4, Characteristics 52 4, Vpb 56 8, DeviceExtension 64 8, DeviceType 72 4, StackSize 76 1,
            Queue 80 72, Queue.ListEntry 80 16, Queue.Wcb 80 72, AlignmentRequirement 152 4, DeviceQueue 160 40, Dpc 200 64,
            ActiveThreadCount 264 4, SecurityDescriptor 272 8, DeviceLock 280 24, SectorSize 304 2, Spare1 306 2,
            DeviceObjectExtension 312 8, Reserved 320 8,
        }
        IO_REMOVE_LOCK_COMMON_BLOCK 32 8 {
            Removed 0 1, Reserved 1 3, IoCount 4 4, RemoveEvent 8 24,
        }
        IO_STATUS_BLOCK 16 8 {
            Information 8 8,
        }
        BUS_INTERFACE_STANDARD 64 8 {
            Size 0 2, Version 2 2, Context 8 8, InterfaceReference 16 8, InterfaceDereference 24 8, TranslateBusAddress 32 8,
            GetDmaAdapter 40 8, SetBusData 48 8, GetBusData 56 8,
        }
        DEVICE_CAPABILITIES 64 4 {
            Size 0 2, Version 2 2, Address 8 4, UINumber 12 4, DeviceState 16 28, SystemWake 44 4, DeviceWake 48 4,
            D1Latency 52 4, D2Latency 56 4, D3Latency 60 4,
        }
        INTERFACE 32 8 {
            Size 0 2, Version 2 2, Context 8 8, InterfaceReference 16 8, InterfaceDereference 24 8,
        }
        FILE_OBJECT 216 8 {
            Type 0 2, Size 2 2, DeviceObject 8 8, Vpb 16 8, FsContext 24 8, FsContext2 32 8, SectionObjectPointer 40 8,
            PrivateCacheMap 48 8, FinalStatus 56 4, RelatedFileObject 64 8, LockOperation 72 1, DeletePending 73 1,
            ReadAccess 74 1, WriteAccess 75 1, DeleteAccess 76 1, SharedRead 77 1, SharedWrite 78 1, SharedDelete 79 1,
            Flags 80 4, FileName 88 16, CurrentByteOffset 104 8, Waiters 112 4, Busy 116 4, LastLock 120 8, Lock 128 24,
            Event 152 24, CompletionContext 176 8, IrpListLock 184 8, IrpList 192 16, FileObjectExtension 208 8,
        }
        DEVICE_DESCRIPTION 40 4 {
            Version 0 4, Master 4 1, ScatterGather 5 1, DemandMode 6 1, AutoInitialize 7 1, Dma32BitAddresses 8 1,
            IgnoreCount 9 1, Reserved1 10 1, Dma64BitAddresses 11 1, BusNumber 12 4, DmaChannel 16 4, InterfaceType 20 4,
            DmaWidth 24 4, DmaSpeed 28 4, MaximumLength 32 4, DmaPort 36 4,
        }
        SCATTER_GATHER_ELEMENT 24 8 {
            Address 0 8, Length 8 4, Reserved 16 8,
        }
        SCATTER_GATHER_LIST 40 8 {
            NumberOfElements 0 4, Reserved 8 8, Elements 16 24,
        }
        DRIVER_EXTENSION 40 8 {
            DriverObject 0 8, AddDevice 8 8, Count 16 4, ServiceKeyName 24 16,
        }
        DRIVER_OBJECT 336 8 {
            Type 0 2, Size 2 2, DeviceObject 8 8, Flags 16 4, DriverStart 24 8, DriverSize 32 4, DriverSection 40 8,
            DriverExtension 48 8, DriverName 56 16, HardwareDatabase 72 8, FastIoDispatch 80 8, DriverInit 88 8,
            DriverStartIo 96 8, DriverUnload 104 8, MajorFunction 112 224,
        }
        DMA_ADAPTER 16 8 {
            Version 0 2, Size 2 2, DmaOperations 8 8,
        }
        DMA_OPERATIONS 128 8 {
            Size 0 4, PutDmaAdapter 8 8, AllocateCommonBuffer 16 8, FreeCommonBuffer 24 8, AllocateAdapterChannel 32 8,
            FlushAdapterBuffers 40 8, FreeAdapterChannel 48 8, FreeMapRegisters 56 8, MapTransfer 64 8, GetDmaAlignment 72 8,
            ReadDmaCounter 80 8, GetScatterGatherList 88 8, PutScatterGatherList 96 8, CalculateScatterGatherList 104 8,
            BuildScatterGatherList 112 8, BuildMdlFromScatterGatherList 120 8,
        }
        IO_RESOURCE_DESCRIPTOR 32 8 {
            Option 0 1, Type 1 1, ShareDisposition 2 1, Spare1 3 1, Flags 4 2, Spare2 6 2, u 8 24, u.Port 8 24,
            u.Port.Length 8 4, u.Port.Alignment 12 4, u.Port.MinimumAddress 16 8, u.Port.MaximumAddress 24 8, u.Memory 8 24,
            u.Memory.Length 8 4, u.Memory.Alignment 12 4, u.Memory.MinimumAddress 16 8, u.Memory.MaximumAddress 24 8,
            u.Interrupt 8 8, u.Interrupt.MinimumVector 8 4, u.Interrupt.MaximumVector 12 4, u.Dma 8 8, u.Dma.MinimumChannel 8 4,
            u.Dma.MaximumChannel 12 4, u.Generic 8 24, u.Generic.Length 8 4, u.Generic.Alignment 12 4,
            u.Generic.MinimumAddress 16 8, u.Generic.MaximumAddress 24 8, u.DevicePrivate 8 12, u.DevicePrivate.Data 8 12,
            u.BusNumber 8 16, u.BusNumber.Length 8 4, u.BusNumber.MinBusNumber 12 4, u.BusNumber.MaxBusNumber 16 4,
            u.BusNumber.Reserved 20 4, u.ConfigData 8 12, u.ConfigData.Priority 8 4, u.ConfigData.Reserved1 12 4,
            u.ConfigData.Reserved2 16 4,
        }
        IO_RESOURCE_LIST 40 8 {
            Version 0 2, Revision 2 2, Count 4 4, Descriptors 8 32,
        }
        IO_RESOURCE_REQUIREMENTS_LIST 72 8 {
            ListSize 0 4, InterfaceType 4 4, BusNumber 8 4, SlotNumber 12 4, Reserved 16 12, AlternativeLists 28 4, List 32 40,
        }
        IRP 208 8 {
            Type 0 2, Size 2 2, MdlAddress 8 8, Flags 16 4, AssociatedIrp 24 8, AssociatedIrp.MasterIrp 24 8,
            AssociatedIrp.IrpCount 24 4, AssociatedIrp.SystemBuffer 24 8, ThreadListEntry 32 16, IoStatus 48 16,
            RequestorMode 64 1, PendingReturned 65 1, StackCount 66 1, CurrentLocation 67 1, Cancel 68 1, CancelIrql 69 1,
            ApcEnvironment 70 1, AllocationFlags 71 1, UserIosb 72 8, UserEvent 80 8, Overlay 88 16,
            Overlay.AsynchronousParameters 88 16, Overlay.AsynchronousParameters.UserApcRoutine 88 8,
            Overlay.AsynchronousParameters.UserApcContext 96 8, Overlay.AllocationSize 88 8, CancelRoutine 104 8,
            UserBuffer 112 8, Tail 120 88, Tail.Overlay 120 80, Tail.Overlay.DriverContext 120 32, Tail.Overlay.Thread 152 8,
            Tail.Overlay.AuxiliaryBuffer 160 8, Tail.Overlay.ListEntry 168 16, Tail.Overlay.CurrentStackLocation 184 8,
            Tail.Overlay.OriginalFileObject 192 8, Tail.Apc 120 88, Tail.CompletionKey 120 8,
        }
        IO_SECURITY_CONTEXT 24 8 {
            SecurityQos 0 8, AccessState 8 8, DesiredAccess 16 4, FullCreateOptions 20 4,
        }
        IO_STACK_LOCATION 72 8 {
            MajorFunction 0 1, MinorFunction 1 1, Flags 2 1, Control 3 1, Parameters 8 32, Parameters.Create 8 32,
            Parameters.Create.SecurityContext 8 8, Parameters.Create.Options 16 4, Parameters.Create.FileAttributes 24 2,
            Parameters.Create.ShareAccess 26 2, Parameters.Create.EaLength 32 4, Parameters.CreatePipe 8 32,
            Parameters.CreatePipe.SecurityContext 8 8, Parameters.CreatePipe.Options 16 4, Parameters.CreatePipe.Reserved 24 2,
            Parameters.CreatePipe.ShareAccess 26 2, Parameters.CreatePipe.Parameters 32 8, Parameters.CreateMailslot 8 32,
            Parameters.CreateMailslot.SecurityContext 8 8, Parameters.CreateMailslot.Options 16 4,
            Parameters.CreateMailslot.Reserved 24 2, Parameters.CreateMailslot.ShareAccess 26 2,
            Parameters.CreateMailslot.Parameters 32 8, Parameters.Read 8 24, Parameters.Read.Length 8 4,
            Parameters.Read.Key 16 4, Parameters.Read.Flags 20 4, Parameters.Read.ByteOffset 24 8, Parameters.Write 8 24,
            Parameters.Write.Length 8 4, Parameters.Write.Key 16 4, Parameters.Write.Flags 20 4,
            Parameters.Write.ByteOffset 24 8, Parameters.QueryDirectory 8 32, Parameters.QueryDirectory.Length 8 4,
            Parameters.QueryDirectory.FileName 16 8, Parameters.QueryDirectory.FileInformationClass 24 4,
            Parameters.QueryDirectory.FileIndex 32 4, Parameters.NotifyDirectory 8 16, Parameters.NotifyDirectory.Length 8 4,
            Parameters.NotifyDirectory.CompletionFilter 16 4, Parameters.NotifyDirectoryEx 8 24,
            Parameters.NotifyDirectoryEx.Length 8 4, Parameters.NotifyDirectoryEx.CompletionFilter 16 4,
            Parameters.NotifyDirectoryEx.DirectoryNotifyInformationClass 24 4, Parameters.QueryFile 8 16,
            Parameters.QueryFile.Length 8 4, Parameters.QueryFile.FileInformationClass 16 4, Parameters.SetFile 8 32,
            Parameters.SetFile.Length 8 4, Parameters.SetFile.FileInformationClass 16 4, Parameters.SetFile.FileObject 24 8,
            Parameters.SetFile.ReplaceIfExists 32 1, Parameters.SetFile.AdvanceOnly 33 1, Parameters.QueryEa 8 32,
            Parameters.QueryEa.Length 8 4, Parameters.QueryEa.EaList 16 8, Parameters.QueryEa.EaListLength 24 4,
            Parameters.QueryEa.EaIndex 32 4, Parameters.SetEa 8 4, Parameters.SetEa.Length 8 4, Parameters.QueryVolume 8 16,
            Parameters.QueryVolume.Length 8 4, Parameters.QueryVolume.FsInformationClass 16 4, Parameters.SetVolume 8 16,
            Parameters.SetVolume.Length 8 4, Parameters.SetVolume.FsInformationClass 16 4, Parameters.FileSystemControl 8 32,
            Parameters.FileSystemControl.OutputBufferLength 8 4, Parameters.FileSystemControl.InputBufferLength 16 4,
            Parameters.FileSystemControl.FsControlCode 24 4, Parameters.FileSystemControl.Type3InputBuffer 32 8,
            Parameters.LockControl 8 24, Parameters.LockControl.Length 8 8, Parameters.LockControl.Key 16 4,
            Parameters.LockControl.ByteOffset 24 8, Parameters.DeviceIoControl 8 32,
            Parameters.DeviceIoControl.OutputBufferLength 8 4, Parameters.DeviceIoControl.InputBufferLength 16 4,
            Parameters.DeviceIoControl.IoControlCode 24 4, Parameters.DeviceIoControl.Type3InputBuffer 32 8,
            Parameters.QuerySecurity 8 16, Parameters.QuerySecurity.SecurityInformation 8 4,
            Parameters.QuerySecurity.Length 16 4, Parameters.SetSecurity 8 16, Parameters.SetSecurity.SecurityInformation 8 4,
            Parameters.SetSecurity.SecurityDescriptor 16 8, Parameters.MountVolume 8 16, Parameters.MountVolume.Vpb 8 8,
            Parameters.MountVolume.DeviceObject 16 8, Parameters.VerifyVolume 8 16, Parameters.VerifyVolume.Vpb 8 8,
            Parameters.VerifyVolume.DeviceObject 16 8, Parameters.Scsi 8 8, Parameters.Scsi.Srb 8 8, Parameters.QueryQuota 8 32,
            Parameters.QueryQuota.Length 8 4, Parameters.QueryQuota.StartSid 16 8, Parameters.QueryQuota.SidList 24 8,
            Parameters.QueryQuota.SidListLength 32 4, Parameters.SetQuota 8 4, Parameters.SetQuota.Length 8 4,
            Parameters.QueryDeviceRelations 8 4, Parameters.QueryDeviceRelations.Type 8 4, Parameters.QueryInterface 8 32,
            Parameters.QueryInterface.InterfaceType 8 8, Parameters.QueryInterface.Size 16 2,
            Parameters.QueryInterface.Version 18 2, Parameters.QueryInterface.Interface 24 8,
            Parameters.QueryInterface.InterfaceSpecificData 32 8, Parameters.DeviceCapabilities 8 8,
            Parameters.DeviceCapabilities.Capabilities 8 8, Parameters.FilterResourceRequirements 8 8,
            Parameters.FilterResourceRequirements.IoResourceRequirementList 8 8, Parameters.ReadWriteConfig 8 32,
            Parameters.ReadWriteConfig.WhichSpace 8 4, Parameters.ReadWriteConfig.Buffer 16 8,
            Parameters.ReadWriteConfig.Offset 24 4, Parameters.ReadWriteConfig.Length 32 4, Parameters.SetLock 8 1,
            Parameters.SetLock.Lock 8 1, Parameters.QueryId 8 4, Parameters.QueryId.IdType 8 4, Parameters.QueryDeviceText 8 16,
            Parameters.QueryDeviceText.DeviceTextType 8 4, Parameters.QueryDeviceText.LocaleId 16 4,
            Parameters.UsageNotification 8 16, Parameters.UsageNotification.InPath 8 1,
            Parameters.UsageNotification.Reserved 9 3, Parameters.UsageNotification.Type 16 4, Parameters.WaitWake 8 4,
            Parameters.WaitWake.PowerState 8 4, Parameters.PowerSequence 8 8, Parameters.PowerSequence.PowerSequence 8 8,
            Parameters.Power 8 32, Parameters.Power.SystemContext 8 4, Parameters.Power.Type 16 4, Parameters.Power.State 24 4,
            Parameters.Power.ShutdownType 32 4, Parameters.StartDevice 8 16, Parameters.StartDevice.AllocatedResources 8 8,
            Parameters.StartDevice.AllocatedResourcesTranslated 16 8, Parameters.WMI 8 32, Parameters.WMI.ProviderId 8 8,
            Parameters.WMI.DataPath 16 8, Parameters.WMI.BufferSize 24 4, Parameters.WMI.Buffer 32 8, Parameters.Others 8 32,
            Parameters.Others.Argument1 8 8, Parameters.Others.Argument2 16 8, Parameters.Others.Argument3 24 8,
            Parameters.Others.Argument4 32 8, DeviceObject 40 8, FileObject 48 8, CompletionRoutine 56 8, Context 64 8,
        }
    }
}
