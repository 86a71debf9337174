//! UTF-16 names: comparison without case, and the components of a path.

use alloc::string::String;
use alloc::vec::Vec;

/// Upper case of a unit, as the object manager and the registry compare names.
pub(crate) fn fold(unit: u16) -> u16 {
    if unit < 0x80 {
        return if (0x61..=0x7a).contains(&unit) { unit - 0x20 } else { unit };
    }
    let Some(character) = char::from_u32(u32::from(unit)) else { return unit };
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(first), None) => u16::try_from(u32::from(first)).unwrap_or(unit),
        _ => unit,
    }
}

/// Whether two names are one but for case.
pub(crate) fn same(left: &[u16], right: &[u16]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(&a, &b)| a == b || fold(a) == fold(b))
}

/// Order of names, without case.
pub(crate) fn order(left: &[u16], right: &[u16]) -> core::cmp::Ordering {
    left.iter().map(|&unit| fold(unit)).cmp(right.iter().map(|&unit| fold(unit)))
}

/// A literal as UTF-16.
pub(crate) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// For messages; what is no UTF-16 becomes a replacement character.
pub(crate) fn lossy(units: &[u16]) -> String {
    String::from_utf16_lossy(units)
}

/// The backslash.
pub(crate) const SEPARATOR: u16 = b'\\' as u16;

/// The first component of a path and what follows it, without the backslash between them.
pub(crate) fn split_first(path: &[u16]) -> (&[u16], &[u16]) {
    match path.iter().position(|&unit| unit == SEPARATOR) {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_beyond_ascii_too() {
        assert!(same(&wide("Größe"), &wide("GRÖßE")));
        assert!(!same(&wide("a"), &wide("ab")));
        assert_eq!(order(&wide("a"), &wide("B")), core::cmp::Ordering::Less);
    }

    #[test]
    fn a_path_is_cut_at_its_first_backslash() {
        let path = wide("Device\\A\\B");
        let (first, rest) = split_first(&path);
        assert_eq!((lossy(first).as_str(), lossy(rest).as_str()), ("Device", "A\\B"));
    }
}
