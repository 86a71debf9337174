//! Our own INF keeps every rule; broken in one place, it breaks one.

use super::*;
use crate::inf::Inf;

const NOW: i64 = 1_767_300_000;

fn findings_of(inf: &str) -> Vec<String> {
    let present = ["relay.sys".to_owned()].into();
    let mut findings = Findings::default();
    examine(&Text::read(inf.as_bytes()), "relay.inf", &present, NOW, &mut findings);
    findings.all().iter().map(|finding| finding.what.clone()).collect()
}

fn good() -> String {
    Inf { catalogue: Some("relay.cat".into()), ..Inf::relay(1_767_225_600) }.to_string()
}

#[test]
fn our_own_inf_breaks_no_rule_and_refers_to_its_driver() {
    let (mut findings, present) = (Findings::default(), ["relay.sys".to_owned()].into());
    let referred = examine(&Text::read(good().as_bytes()), "relay.inf", &present, NOW, &mut findings);
    assert_eq!(findings.all(), []);
    assert_eq!(referred.files, ["relay.sys".to_owned()].into());
    assert_eq!(referred.hardware_ids, [r"pci\ven_1af4&dev_1055".to_owned()].into());
    assert_eq!(referred.catalogue.as_deref(), Some("relay.cat"));
}

#[test]
fn our_own_inf_with_a_filter_breaks_no_rule_and_refers_to_both_drivers() {
    let both = ["relay.sys".to_owned(), "relayflt.sys".to_owned()].into();
    let inf = Inf { catalogue: Some("relay.cat".into()), ..Inf::relay(1_767_225_600) }.with_upper_filter("relayflt", "Filter");
    let mut findings = Findings::default();
    let referred = examine(&Text::read(inf.to_string().as_bytes()), "relay.inf", &both, NOW, &mut findings);
    assert_eq!(findings.all(), []);
    assert_eq!(referred.files, both);
}

#[test]
fn each_broken_rule_is_found() {
    let cases = [
        ("$Windows NT$", "$OS/2$", "the Signature is not $Windows NT$"),
        ("CatalogFile = relay.cat", "", "[Version] has no CatalogFile"),
        ("PnpLockdown = 1", "", "[Version] has no PnpLockdown = 1"),
        ("01/01/2026", "13/01/2026", "\"13/01/2026\" is no date"),
        ("01/01/2026", "01/01/2036", "DriverVer's date 01/01/2036 is in the future"),
        ("0.1.0.0", "0.1.0.65536", "\"0.1.0.65536\" is no version"),
        ("{4d36e97d-", "{4d36e97-", "ClassGuid {4d36e97-e325-11ce-bfc1-08002be10318} is no GUID"),
        ("Models, NTamd64", "Models, NTx86", "[Manufacturer] has no models for x64"),
        ("[Models.", "[Modells.", "no section [Models.NTamd64.10.0...16299]"),
        ("NTamd64.10.0...16299", "NTamd64.10.0", "NTamd64.10.0 lets in builds before 16299"),
        (r", PCI\VEN_1AF4&DEV_1055", "", "a model without a hardware id"),
        ("relay.sys = 1", "", "relay.sys is not in [SourceDisksFiles]"),
        ("1 = %Disk%", "", "disk 1 is not in [SourceDisksNames]"),
        ("DefaultDestDir = 13", "", "relay.sys has no destination"),
        ("0x00000002", "0", "no AddService has the flag 0x00000002"),
        ("StartType = 3", "StartType = 9", "[Install.Service] has no proper StartType"),
        (r"ServiceBinary = %13%\", r"ServiceBinary = %12%\", "the driver runs from directory 12"),
        (r"ServiceBinary = %13%\relay.sys", r"ServiceBinary = %13%\other.sys", "other.sys is copied by no CopyFiles"),
        ("KmdfService = relay", "KmdfService = ralay", "KmdfService names ralay, which no AddService adds"),
        ("KmdfLibraryVersion = 1.15", "KmdfLibraryVersion = one", "KmdfLibraryVersion \"one\" is no version"),
        ("MSISupported, 0x00010001, 1", "MSISupported, 0x00010001, 0", "MessageNumberLimit without MSISupported = 1"),
        ("MessageNumberLimit, 0x00010001, 4", "MessageNumberLimit, 0x00010001, 0", "MessageNumberLimit is \"0\""),
        ("HKR, \"Interrupt Management\",,", "HKLM, \"Software\",,", "it writes to HKLM"),
        ("Service = \"", "Servise = \"", "%Service% is not defined"),
        ("[Strings]", "[Lost]\r\na = b\r\n[Strings]", "nothing refers to [Lost]"),
    ];
    for (from, to, expected) in cases {
        let bad = good().replace(from, to);
        assert_ne!(bad, good(), "{from}");
        let found = findings_of(&bad);
        assert!(found.iter().any(|what| what == expected), "{expected}: {found:#?}");
    }
}

#[test]
fn a_file_that_is_not_there_and_an_empty_inf_are_found() {
    let mut findings = Findings::default();
    examine(&Text::read(good().as_bytes()), "relay.inf", &BTreeSet::new(), NOW, &mut findings);
    assert_eq!(findings.all()[0].what, "relay.sys is not in the package");
    assert_eq!(findings_of("")[0], "no section [Version]");
}

#[test]
fn no_line_of_an_inf_can_be_missing_or_cut_off_in_a_way_that_panics() {
    let good = good();
    for end in 0..good.len() {
        findings_of(&good[..end]);
    }
}
