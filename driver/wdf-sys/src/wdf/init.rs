//! The `WDF_…_INIT` helpers as constructors: a structure with its size and documented defaults filled in.

use crate::types::*;
use crate::wdf::*;

const fn size_of_u32<T>() -> u32 {
    size_of::<T>() as u32
}

impl WDF_OBJECT_ATTRIBUTES {
    /// `WDF_OBJECT_ATTRIBUTES_INIT`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            Size: size_of_u32::<Self>(),
            ExecutionLevel: WDF_EXECUTION_LEVEL::WdfExecutionLevelInheritFromParent,
            SynchronizationScope: WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeInheritFromParent,
            ..Self::zeroed()
        }
    }
}

impl WDF_DRIVER_CONFIG {
    /// `WDF_DRIVER_CONFIG_INIT`.
    #[must_use]
    pub const fn new(device_add: PFN_WDF_DRIVER_DEVICE_ADD) -> Self {
        Self { Size: size_of_u32::<Self>(), EvtDriverDeviceAdd: device_add, ..Self::zeroed() }
    }
}

impl WDF_PNPPOWER_EVENT_CALLBACKS {
    /// `WDF_PNPPOWER_EVENT_CALLBACKS_INIT`.
    #[must_use]
    pub const fn new() -> Self {
        Self { Size: size_of_u32::<Self>(), ..Self::zeroed() }
    }
}

impl WDF_FILEOBJECT_CONFIG {
    /// `WDF_FILEOBJECT_CONFIG_INIT`.
    #[must_use]
    pub const fn new(create: PFN_WDF_DEVICE_FILE_CREATE, close: PFN_WDF_FILE_CLOSE, cleanup: PFN_WDF_FILE_CLEANUP) -> Self {
        Self {
            Size: size_of_u32::<Self>(),
            EvtDeviceFileCreate: create,
            EvtFileClose: close,
            EvtFileCleanup: cleanup,
            AutoForwardCleanupClose: WDF_TRI_STATE::WdfUseDefault,
            FileObjectClass: WDF_FILEOBJECT_CLASS::WdfFileObjectWdfCannotUseFsContexts,
        }
    }
}

impl WDF_IO_QUEUE_CONFIG {
    /// `WDF_IO_QUEUE_CONFIG_INIT`.
    #[must_use]
    pub const fn new(dispatch: WDF_IO_QUEUE_DISPATCH_TYPE) -> Self {
        let mut config = Self {
            Size: size_of_u32::<Self>(),
            PowerManaged: WDF_TRI_STATE::WdfUseDefault,
            DispatchType: dispatch,
            ..Self::zeroed()
        };
        if dispatch.0 == WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel.0 {
            config.Settings.Parallel.NumberOfPresentedRequests = u32::MAX;
        }
        config
    }

    /// `WDF_IO_QUEUE_CONFIG_INIT_DEFAULT_QUEUE`.
    #[must_use]
    pub const fn default_queue(dispatch: WDF_IO_QUEUE_DISPATCH_TYPE) -> Self {
        Self { DefaultQueue: TRUE, ..Self::new(dispatch) }
    }
}

impl WDF_REQUEST_REUSE_PARAMS {
    /// `WDF_REQUEST_REUSE_PARAMS_INIT`.
    pub const fn new(flags: u32, status: crate::NTSTATUS) -> Self {
        Self { Size: size_of_u32::<Self>(), Flags: flags, Status: status, ..Self::zeroed() }
    }
}

impl WDF_REQUEST_SEND_OPTIONS {
    /// `WDF_REQUEST_SEND_OPTIONS_INIT`.
    #[must_use]
    pub const fn new(flags: u32) -> Self {
        Self { Size: size_of_u32::<Self>(), Flags: flags, Timeout: 0 }
    }
}

impl WDF_REQUEST_FORWARD_OPTIONS {
    /// `WDF_REQUEST_FORWARD_OPTIONS_INIT`.
    #[must_use]
    pub const fn new() -> Self {
        Self { Size: size_of_u32::<Self>(), Flags: WDF_REQUEST_FORWARD_OPTION_SEND_AND_FORGET }
    }
}

impl WDF_REQUEST_PARAMETERS {
    /// `WDF_REQUEST_PARAMETERS_INIT`.
    #[must_use]
    pub const fn new() -> Self {
        Self { Size: size_of::<Self>() as u16, ..Self::zeroed() }
    }
}

impl WDF_REQUEST_COMPLETION_PARAMS {
    /// `WDF_REQUEST_COMPLETION_PARAMS_INIT`.
    #[must_use]
    pub const fn new() -> Self {
        Self { Size: size_of_u32::<Self>(), ..Self::zeroed() }
    }
}

impl WDF_INTERRUPT_CONFIG {
    /// `WDF_INTERRUPT_CONFIG_INIT`.
    #[must_use]
    pub const fn new(isr: PFN_WDF_INTERRUPT_ISR, dpc: PFN_WDF_INTERRUPT_DPC) -> Self {
        Self {
            Size: size_of_u32::<Self>(),
            EvtInterruptIsr: isr,
            EvtInterruptDpc: dpc,
            ShareVector: WDF_TRI_STATE::WdfUseDefault,
            ..Self::zeroed()
        }
    }
}

impl WDF_INTERRUPT_INFO {
    /// `WDF_INTERRUPT_INFO_INIT`.
    #[must_use]
    pub const fn new() -> Self {
        Self { Size: size_of_u32::<Self>(), ..Self::zeroed() }
    }
}

impl WDF_TIMER_CONFIG {
    /// `WDF_TIMER_CONFIG_INIT`, and `WDF_TIMER_CONFIG_INIT_PERIODIC` with a period in milliseconds.
    #[must_use]
    pub const fn new(timer: PFN_WDF_TIMER, period: u32) -> Self {
        Self { Size: size_of_u32::<Self>(), EvtTimerFunc: timer, Period: period, AutomaticSerialization: TRUE, ..Self::zeroed() }
    }
}

impl WDF_DPC_CONFIG {
    /// `WDF_DPC_CONFIG_INIT`.
    #[must_use]
    pub const fn new(dpc: PFN_WDF_DPC) -> Self {
        Self { Size: size_of_u32::<Self>(), EvtDpcFunc: dpc, AutomaticSerialization: TRUE }
    }
}

impl WDF_WORKITEM_CONFIG {
    /// `WDF_WORKITEM_CONFIG_INIT`.
    #[must_use]
    pub const fn new(work_item: PFN_WDF_WORKITEM) -> Self {
        Self { Size: size_of_u32::<Self>(), EvtWorkItemFunc: work_item, AutomaticSerialization: TRUE }
    }
}

impl WDF_DMA_ENABLER_CONFIG {
    /// `WDF_DMA_ENABLER_CONFIG_INIT`.
    #[must_use]
    pub const fn new(profile: WDF_DMA_PROFILE, maximum_length: usize) -> Self {
        Self { Size: size_of_u32::<Self>(), Profile: profile, MaximumLength: maximum_length, ..Self::zeroed() }
    }
}

impl WDF_QUERY_INTERFACE_CONFIG {
    /// Every field but the size is the caller's.
    #[must_use]
    pub const fn new() -> Self {
        Self { Size: size_of_u32::<Self>(), ..Self::zeroed() }
    }
}

impl WDF_DEVICE_STATE {
    /// `WDF_DEVICE_STATE_INIT`: everything left as it is.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            Size: size_of_u32::<Self>(),
            Disabled: WDF_TRI_STATE::WdfUseDefault,
            DontDisplayInUI: WDF_TRI_STATE::WdfUseDefault,
            Failed: WDF_TRI_STATE::WdfUseDefault,
            NotDisableable: WDF_TRI_STATE::WdfUseDefault,
            Removed: WDF_TRI_STATE::WdfUseDefault,
            ResourcesChanged: WDF_TRI_STATE::WdfUseDefault,
        }
    }
}

impl WDF_IO_TARGET_OPEN_PARAMS {
    /// The start that each `WDF_IO_TARGET_OPEN_PARAMS_INIT_…` shares.
    #[must_use]
    pub const fn new(kind: WDF_IO_TARGET_OPEN_TYPE) -> Self {
        Self { Size: size_of_u32::<Self>(), Type: kind, ..Self::zeroed() }
    }
}
