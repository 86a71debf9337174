//! UTF-16 strings that are known when the driver is compiled: names, and nothing else. The kernel's names are counted, not terminated.

use wdf_sys::wdm::UNICODE_STRING;

/// Widens an ASCII string, at compile time.
///
/// # Panics
/// When the text is not ASCII or not `N` characters long; in a constant that is a compile error.
#[must_use]
pub const fn widen<const N: usize>(text: &str) -> [u16; N] {
    let bytes = text.as_bytes();
    assert!(bytes.len() == N, "the length given is not the text's");
    let mut units = [0; N];
    let mut at = 0;
    while at < N {
        assert!(bytes[at].is_ascii(), "names in drivers are ASCII");
        units[at] = bytes[at] as u16;
        at += 1;
    }
    units
}

/// A `&'static [u16]` from an ASCII constant: `utf16!(r"\DosDevices\Name")`.
#[macro_export]
macro_rules! utf16 {
    ($text:expr) => {{
        const TEXT: &str = $text;
        const UNITS: [u16; TEXT.len()] = $crate::string::widen(TEXT);
        &UNITS
    }};
}

/// The counted string over `units`.
///
/// # Errors
/// `STATUS_OBJECT_NAME_INVALID` when it is longer than a counted string can be.
pub(crate) fn counted(units: &[u16]) -> crate::Result<UNICODE_STRING> {
    UNICODE_STRING::new(units).ok_or(crate::NTSTATUS::OBJECT_NAME_INVALID)
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_ascii_name_is_widened_without_terminator() {
        assert_eq!(utf16!("ab"), &[0x61, 0x62]);
    }
}
