//! WDFSTRING.

use alloc::vec::Vec;

use wdf_sys::wdf::WDF_OBJECT_ATTRIBUTES;
use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::{NTSTATUS, WDFSTRING};

use crate::call::ddi;
use crate::device_init::copy_units;
use crate::lock::default_parent;
use crate::object::attributes::Rules;
use crate::object::{Attributes, Body, Kind};
use crate::sync::{PASSIVE_LEVEL, SpinLock};

/// Body of a WDFSTRING.
pub(crate) struct Text {
    units: SpinLock<Vec<u16>>,
}

impl Body for Text {
    type Handle = WDFSTRING;
    const KIND: Kind = Kind::String;
}

impl Text {
    /// A string object's body.
    pub(crate) fn new(units: &[u16]) -> Result<Self, NTSTATUS> {
        let text = Self { units: SpinLock::new(Vec::new()) };
        text.set(units)?;
        Ok(text)
    }

    /// Replaces the text. Pointers that WdfStringGetUnicodeString gave out end here, as on Windows.
    pub(crate) fn set(&self, units: &[u16]) -> Result<(), NTSTATUS> {
        if units.len() > usize::from(u16::MAX) / 2 {
            return Err(NTSTATUS::INVALID_PARAMETER);
        }
        let copy = copy_units(units)?;
        let old = core::mem::replace(&mut *self.units.lock(), copy);
        drop(old);
        Ok(())
    }

    /// The text as a counted string over the object's own buffer.
    pub(crate) fn counted(&self) -> UNICODE_STRING {
        UNICODE_STRING::new(&self.units.lock()).unwrap_or_default()
    }

    /// A copy of the text.
    pub(crate) fn copy(&self) -> Result<Vec<u16>, NTSTATUS> {
        copy_units(&self.units.lock())
    }
}

ddi! {
    fn WdfStringCreate(call, text: *const UNICODE_STRING, attributes: *mut WDF_OBJECT_ATTRIBUTES, string: *mut WDFSTRING) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.write(string, WDFSTRING::NULL);
        let created = Attributes::read(call, attributes, Rules::ORDINARY).and_then(|attributes| {
            let body = Text::new(call.optional_string(text)?.unwrap_or(&[]))?;
            crate::object::create(call.globals, &attributes, default_parent(call).as_ref(), body)
        });
        call.created(string, created)
    }

    fn WdfStringGetUnicodeString(call, string: WDFSTRING, text: *mut UNICODE_STRING) {
        call.irql_at_most(PASSIVE_LEVEL);
        let counted = call.object::<Text>(string).counted();
        call.write(text, counted);
    }
}
