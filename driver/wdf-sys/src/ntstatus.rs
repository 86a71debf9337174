//! NTSTATUS: the result of nearly every call, with the names of the values that drivers and the framework use.

/// A status. Negative values are errors.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
#[must_use]
pub struct NTSTATUS(pub i32);

impl NTSTATUS {
    /// Success or information, `NT_SUCCESS`.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 >= 0
    }

    /// `NT_ERROR`.
    #[must_use]
    pub const fn is_error(self) -> bool {
        (self.0 as u32) >> 30 == 3
    }

    /// The value as it is usually written, in hexadecimal.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// `Ok` for success, the status itself as the error otherwise.
    ///
    /// # Errors
    /// The status, when it is no success.
    pub const fn ok(self) -> Result<(), Self> {
        if self.is_success() { Ok(()) } else { Err(self) }
    }
}

impl Default for NTSTATUS {
    fn default() -> Self {
        Self::SUCCESS
    }
}

impl core::fmt::Debug for NTSTATUS {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl core::fmt::Display for NTSTATUS {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.name() {
            Some(name) => write!(f, "STATUS_{name}"),
            None => write!(f, "status {:#010x}", self.bits()),
        }
    }
}

impl core::error::Error for NTSTATUS {}

macro_rules! statuses {
    ($($name:ident = $value:literal,)*) => {
        #[allow(missing_docs, reason = "each is STATUS_ and its name")]
        impl NTSTATUS {
            $(pub const $name: Self = Self($value as u32 as i32);)*

            /// The name, without `STATUS_`, of the values listed here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.bits() {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    SUCCESS = 0x0000_0000, WAIT_1 = 0x0000_0001, WAIT_2 = 0x0000_0002, WAIT_3 = 0x0000_0003, WAIT_63 = 0x0000_003f,
    ABANDONED_WAIT_0 = 0x0000_0080, USER_APC = 0x0000_00c0, ALERTED = 0x0000_0101, TIMEOUT = 0x0000_0102, PENDING = 0x0000_0103,
    REPARSE = 0x0000_0104, MORE_ENTRIES = 0x0000_0105,
    OBJECT_NAME_EXISTS = 0x4000_0000, DATATYPE_MISALIGNMENT = 0x8000_0002, BREAKPOINT = 0x8000_0003, SINGLE_STEP = 0x8000_0004,
    BUFFER_OVERFLOW = 0x8000_0005, NO_MORE_FILES = 0x8000_0006, DEVICE_BUSY = 0x8000_0011, NO_MORE_ENTRIES = 0x8000_001a,
    UNSUCCESSFUL = 0xc000_0001, NOT_IMPLEMENTED = 0xc000_0002, INVALID_INFO_CLASS = 0xc000_0003, INFO_LENGTH_MISMATCH = 0xc000_0004,
    ACCESS_VIOLATION = 0xc000_0005, IN_PAGE_ERROR = 0xc000_0006, INVALID_HANDLE = 0xc000_0008, INVALID_PARAMETER = 0xc000_000d,
    NO_SUCH_DEVICE = 0xc000_000e, NO_SUCH_FILE = 0xc000_000f, INVALID_DEVICE_REQUEST = 0xc000_0010, END_OF_FILE = 0xc000_0011,
    MORE_PROCESSING_REQUIRED = 0xc000_0016, NO_MEMORY = 0xc000_0017, CONFLICTING_ADDRESSES = 0xc000_0018,
    ILLEGAL_INSTRUCTION = 0xc000_001d, INVALID_SYSTEM_SERVICE = 0xc000_001c,
    ACCESS_DENIED = 0xc000_0022, BUFFER_TOO_SMALL = 0xc000_0023, OBJECT_TYPE_MISMATCH = 0xc000_0024,
    OBJECT_NAME_INVALID = 0xc000_0033, OBJECT_NAME_NOT_FOUND = 0xc000_0034, OBJECT_NAME_COLLISION = 0xc000_0035,
    OBJECT_PATH_INVALID = 0xc000_0039, OBJECT_PATH_NOT_FOUND = 0xc000_003a, OBJECT_PATH_SYNTAX_BAD = 0xc000_003b,
    DATA_OVERRUN = 0xc000_003c, DATA_ERROR = 0xc000_003e, SHARING_VIOLATION = 0xc000_0043, MUTANT_NOT_OWNED = 0xc000_0046,
    SEMAPHORE_LIMIT_EXCEEDED = 0xc000_0047, DELETE_PENDING = 0xc000_0056, REVISION_MISMATCH = 0xc000_0059,
    PROCEDURE_NOT_FOUND = 0xc000_007a, INVALID_IMAGE_FORMAT = 0xc000_007b, INTEGER_DIVIDE_BY_ZERO = 0xc000_0094,
    INTEGER_OVERFLOW = 0xc000_0095, PRIVILEGED_INSTRUCTION = 0xc000_0096, INSUFFICIENT_RESOURCES = 0xc000_009a,
    DEVICE_NOT_READY = 0xc000_00a3, ILLEGAL_FUNCTION = 0xc000_00af, IO_TIMEOUT = 0xc000_00b5, FILE_FORCED_CLOSED = 0xc000_00b6,
    NOT_SUPPORTED = 0xc000_00bb, DEVICE_DOES_NOT_EXIST = 0xc000_00c0, INTERNAL_ERROR = 0xc000_00e5, INVALID_USER_BUFFER = 0xc000_00e8,
    STACK_OVERFLOW = 0xc000_00fd, CANCELLED = 0xc000_0120, CANNOT_DELETE = 0xc000_0121, INVALID_COMPUTER_NAME = 0xc000_0122,
    FILE_CLOSED = 0xc000_0128, INVALID_ADDRESS = 0xc000_0141, DLL_NOT_FOUND = 0xc000_0135, ORDINAL_NOT_FOUND = 0xc000_0138,
    ENTRYPOINT_NOT_FOUND = 0xc000_0139, IO_DEVICE_ERROR = 0xc000_0185, DRIVER_UNABLE_TO_LOAD = 0xc000_026c,
    INVALID_BUFFER_SIZE = 0xc000_0206, NOT_FOUND = 0xc000_0225, RETRY = 0xc000_022d, DEVICE_HARDWARE_ERROR = 0xc000_0483,
    DRIVER_ORDINAL_NOT_FOUND = 0xc000_0262, DRIVER_ENTRYPOINT_NOT_FOUND = 0xc000_0263, INVALID_DEVICE_STATE = 0xc000_0184,
    DEVICE_CONFIGURATION_ERROR = 0xc000_0182, DEVICE_NOT_CONNECTED = 0xc000_009d, DEVICE_POWER_FAILURE = 0xc000_009e,
    DEVICE_POWERED_OFF = 0x8000_000f, DEVICE_REMOVED = 0xc000_02b6, NO_SUCH_PRIVILEGE = 0xc000_0060, OBJECTID_EXISTS = 0xc000_022b,
    INVALID_IMAGE_HASH = 0xc000_0428, DELAY_LOAD_FAILED = 0xc000_0412, PLUGPLAY_NO_DEVICE = 0xc000_025e,
    NO_CALLBACK_ACTIVE = 0xc000_0258, UNHANDLED_EXCEPTION = 0xc000_0144, REGISTRY_CORRUPT = 0xc000_014c,
    REQUEST_NOT_ACCEPTED = 0xc000_00d0, REQUEST_ABORTED = 0xc000_0240, ASSERTION_FAILURE = 0xc000_0420,
    GUARD_PAGE_VIOLATION = 0x8000_0001, PARTIAL_COPY = 0x8000_000d, DEVICE_ALREADY_ATTACHED = 0xc000_0038,
    INVALID_PAGE_PROTECTION = 0xc000_0045, THREAD_IS_TERMINATING = 0xc000_004b, FILE_INVALID = 0xc000_0098,
    FREE_VM_NOT_AT_BASE = 0xc000_009f, MEMORY_NOT_ALLOCATED = 0xc000_00a0, INVALID_PARAMETER_1 = 0xc000_00ef,
    INVALID_PARAMETER_2 = 0xc000_00f0, INVALID_PARAMETER_3 = 0xc000_00f1, INVALID_PARAMETER_4 = 0xc000_00f2,
    NOT_A_DIRECTORY = 0xc000_0103, NAME_TOO_LONG = 0xc000_0106, PROCESS_IS_TERMINATING = 0xc000_010a, KEY_DELETED = 0xc000_017c,
    DRIVER_INTERNAL_ERROR = 0xc000_0183, POWER_STATE_INVALID = 0xc000_02d3, INVALID_CID = 0xc000_000b,
    PRIVILEGE_NOT_HELD = 0xc000_0061, DEVICE_ENUMERATION_ERROR = 0xc000_0366, UNABLE_TO_FREE_VM = 0xc000_001a,
    NO_SUCH_MEMBER = 0xc000_017a, WMI_GUID_NOT_FOUND = 0xc000_0295, WMI_INSTANCE_NOT_FOUND = 0xc000_0296,
    WMI_ITEMID_NOT_FOUND = 0xc000_0297, WMI_READ_ONLY = 0xc000_02c6, WMI_SET_FAILURE = 0xc000_02c7,
    WMI_GUID_DISCONNECTED = 0xc000_0301,
    WDF_INTERNAL_ERROR = 0xc020_0201, WDF_PAUSED = 0xc020_0203, WDF_BUSY = 0xc020_0204, WDF_IO_TIMEOUT_NOT_SENT = 0xc020_0205,
    WDF_REQUEST_ALREADY_PENDING = 0xc020_0207, WDF_REQUEST_INVALID_STATE = 0xc020_0208, WDF_TOO_FRAGMENTED = 0xc020_020a,
    WDF_NO_CALLBACK = 0xc020_020b, WDF_INCOMPATIBLE_EXECUTION_LEVEL = 0xc020_020c, WDF_PARENT_ALREADY_ASSIGNED = 0xc020_020d,
    WDF_PARENT_IS_SELF = 0xc020_020e, WDF_PARENT_ASSIGNMENT_NOT_ALLOWED = 0xc020_020f,
    WDF_SYNCHRONIZATION_SCOPE_INVALID = 0xc020_0210, WDF_EXECUTION_LEVEL_INVALID = 0xc020_0211, WDF_PARENT_NOT_SPECIFIED = 0xc020_0212,
    WDF_TOO_MANY_TRANSFERS = 0xc020_0213, WDF_NOT_ENOUGH_MAP_REGISTERS = 0xc020_0214,
}
