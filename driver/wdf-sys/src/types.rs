//! Words of the ABI that are no structures: handles, opaque types, GUIDs, booleans.
#![allow(missing_docs, non_camel_case_types, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;

/// A C truth value: 0 is false, anything else is true.
pub type BOOLEAN = u8;
pub const FALSE: BOOLEAN = 0;
pub const TRUE: BOOLEAN = 1;

/// A handle of the object manager.
pub type HANDLE = *mut c_void;

/// A globally unique identifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
#[allow(non_snake_case)]
pub struct GUID {
    pub Data1: u32,
    pub Data2: u16,
    pub Data3: u16,
    pub Data4: [u8; 8],
}

impl GUID {
    /// From its fields, in the order in which a GUID is written.
    #[must_use]
    pub const fn new(fields: (u32, u16, u16, [u8; 8])) -> Self {
        Self { Data1: fields.0, Data2: fields.1, Data3: fields.2, Data4: fields.3 }
    }
}

/// A property key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DEVPROPKEY {
    pub fmtid: GUID,
    pub pid: u32,
}

/// Structures that only their owner looks into.
macro_rules! opaque {
    ($($name:ident)*) => {$(
        #[derive(Debug)]
        #[repr(C)]
        pub struct $name {
            opaque: [u8; 0],
        }
    )*};
}

opaque! { KINTERRUPT WDFDEVICE_INIT IO_WORKITEM NPAGED_LOOKASIDE_LIST PAGED_LOOKASIDE_LIST }

/// Handles of the framework: pointer-sized, one type each, so that a queue is never passed for a request.
macro_rules! handles {
    ($($name:ident)*) => {$(
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub *mut c_void);

        impl $name {
            pub const NULL: Self = Self(core::ptr::null_mut());

            #[must_use]
            pub const fn is_null(self) -> bool {
                self.0.is_null()
            }

            /// The same object, without its kind.
            #[must_use]
            pub const fn object(self) -> WDFOBJECT {
                WDFOBJECT(self.0)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::NULL
            }
        }
    )*};
}

handles! {
    WDFOBJECT WDFDRIVER WDFDEVICE WDFQUEUE WDFREQUEST WDFIOTARGET WDFFILEOBJECT WDFMEMORY WDFSPINLOCK WDFWAITLOCK WDFTIMER WDFDPC
    WDFWORKITEM WDFINTERRUPT WDFSTRING WDFCOLLECTION WDFKEY WDFLOOKASIDE WDFCHILDLIST WDFCMRESLIST WDFIORESLIST WDFIORESREQLIST
    WDFDMAENABLER WDFDMATRANSACTION WDFCOMMONBUFFER WDFWMIPROVIDER WDFWMIINSTANCE WDFUSBDEVICE WDFUSBINTERFACE WDFUSBPIPE
}
