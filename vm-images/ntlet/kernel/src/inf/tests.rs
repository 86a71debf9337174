//! INFs that make no sense: whatever a file says, it is read or refused, in bounded memory.

use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::install::Installation;
use super::models::{SystemVersion, best_match, root_ids};
use super::text::Inf;

const SYSTEM: SystemVersion = SystemVersion { major: 10, minor: 0, build: 19041 };

/// A sound file, which the tests damage.
const SOUND: &str = "[Version]\r\nSignature = \"$WINDOWS NT$\"\r\nClass = System\r\nClassGuid = {4d36e97d-e325-11ce-bfc1-08002be10318}\r\n\
    [Manufacturer]\r\n%Maker% = Models, NTamd64.10.0...16299\r\n[Models.NTamd64.10.0...16299]\r\n\"A device\" = Install, PCI\\VEN_1AF4, ROOT\\X\r\n\
    [Install.NT]\r\nCopyFiles = Files\r\nAddReg = Values\r\n[Values]\r\nHKR, Sub\\Key, Name, 0x00010000, one, \"two, \"\"three\"\"\", \\\r\n  four\r\n\
    HKR,, Number, 0x00010001, -1\r\nHKLM, Software, Bytes, 1, 0a, ff\r\n[Install.NT.HW]\r\nAddReg = Values\r\n[Install.NT.Services]\r\n\
    AddService = x, 2, Service\r\n[Service]\r\nServiceType = 1\r\nServiceBinary = %13%\\x.sys\r\nAddReg = Values\r\n[Install.NT.Filters]\r\n\
    AddFilter = flt,, Filter\r\n[Filter]\r\nFilterPosition = Lower\r\n[Install.NT.Wdf]\r\nKmdfService = x, Wdf\r\n[Wdf]\r\n\
    KmdfLibraryVersion = 1.15\r\n[Strings]\r\nMaker = \"Somebody\" ; a comment\r\n";

/// Everything that is done with a file, as far as it comes.
fn try_everything(file: &[u8]) {
    let Ok(inf) = Inf::parse(file) else { return };
    let ids: Vec<String> = ["PCI\\VEN_1AF4", "X", ""].map(String::from).into();
    let _ = root_ids(&inf, SYSTEM);
    let found = best_match(&inf, SYSTEM, &ids, &ids);
    let section = found.ok().flatten().map_or_else(|| String::from("Install"), |found| found.install_section);
    if let Ok(installation) = Installation::read(&inf, &section) {
        let values = installation.driver_values.iter().chain(&installation.hardware_values);
        let values = values.chain(installation.services.iter().flat_map(|service| &service.values));
        assert!(values.map(|value| value.data.len()).sum::<usize>() <= 4 << 20);
    }
}

/// What files are made of, and what they should not be made of.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(SOUND.split("\r\n").collect::<Vec<_>>()).prop_map(String::from),
        proptest::sample::select(alloc::vec![
            "[",
            "]",
            "[Install.NT]",
            "[Strings]",
            "[]",
            "=",
            ",",
            ",,,,",
            "\"",
            "\"\"",
            "%",
            "%%",
            "%Maker%",
            "%Maker%%Maker%",
            "\\",
            ";",
            "HKR",
            "HKXX,,,",
            "AddReg = Values,Values,Values",
            "AddReg = Install.NT",
            "AddService = ,,",
            "0x",
            "0xfffffffff",
            "-",
            "NTamd64.",
            "NTamd64.1.2.3.4.5.6",
            "\u{feff}",
            "\u{fffd}",
            "\0",
            "\u{130}",
        ])
        .prop_map(String::from),
        "[ -~]{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn lines_in_any_order_and_number_never_do_harm(
        fragments in proptest::collection::vec((fragment(), prop_oneof![Just("\r\n"), Just("\n"), Just(""), Just(" \\\n")]), 0..80),
        has_head in any::<bool>(),
    ) {
        let body: String = fragments.iter().flat_map(|(text, end)| [text.as_str(), end]).collect();
        let head = if has_head { "[Version]\nSignature = \"$WINDOWS NT$\"\n" } else { "" };
        try_everything(format!("{head}{body}").as_bytes());
    }

    #[test]
    fn bytes_that_are_changed_cut_or_put_in_never_do_harm(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0..3_u8), 1..12),
        is_wide in any::<bool>(),
    ) {
        let mut file: Vec<u8> = match is_wide {
            true => [0xfeff].into_iter().chain(SOUND.encode_utf16()).flat_map(u16::to_le_bytes).collect(),
            false => SOUND.into(),
        };
        for (place, byte, what) in changes {
            let at = place.index(file.len());
            match what {
                0 => file[at] = byte,
                1 => file.insert(at, byte),
                _ => drop(file.drain(at..(at + usize::from(byte)).min(file.len() - 1))),
            }
        }
        try_everything(&file);
    }
}

#[test]
fn a_sound_file_cut_off_anywhere_is_read_or_refused() {
    assert_eq!(Installation::read(&Inf::parse(SOUND.as_bytes()).unwrap(), "Install").unwrap().services.len(), 1);
    (0..SOUND.len()).for_each(|length| try_everything(&SOUND.as_bytes()[..length]));
}

#[test]
fn a_line_that_goes_on_for_the_whole_file_is_read_in_one_pass() {
    let file = format!("[Version]\nSignature = \"$WINDOWS NT$\"\n[A]\nk = {}end\n", "a\\\n".repeat(300_000));
    assert!(Inf::parse(file.as_bytes()).unwrap_err().reason.contains("too long"));
}
