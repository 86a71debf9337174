//! Packages of other people: what is good in them is left alone, and each thing that is not is found and explained.

mod common;

use std::path::Path;

use der::{Decode as _, Encode as _};
use driver_package::finding::{Finding, Severity};
use driver_package::inf::Inf;
use driver_package::key::Signer;
use driver_package::package::File;
use driver_package::verify::{Report, files, folder};

/// 2026-01-02.
const NOW: i64 = 1_767_312_000;

/// A package as Microsoft's tools make it from a KMDF sample's INF: stamped, with constants as strings, one section for each platform and a
/// dash in the date.
const STAMPED: &str = r#"
; Installs a sensor. Another comment, with a [bracket] and a "quotation mark
[Version]
Signature   = "$WINDOWS NT$"
Class       = Sample
ClassGuid   = {78A1C341-4539-11d3-B88D-00C04FAD5171}
Provider    = %ProviderString%
DriverVer   = 01-01-2026,10.0.26100.1
CatalogFile = sensor.cat
PnpLockdown = 1

[DestinationDirs]
DefaultDestDir = 13

[SourceDisksNames]
1 = %DiskName%,,,""

[SourceDisksFiles]
sensor.sys = 1,,

[ClassInstall32]
AddReg = SampleClass_RegistryAdd

[SampleClass_RegistryAdd]
HKR,,,,%ClassName%
HKR,,Icon,,"-10"

[Manufacturer]
%MfgName% = Standard,NTamd64.10.0...16299,NTarm64.10.0...16299

[Standard.NTamd64.10.0...16299]
%Device.Desc% = Sensor_Device, PCI\VEN_1AF4&DEV_1055, \
    PCI\VEN_1AF4&DEV_1042

[Standard.NTarm64.10.0...16299]
%Device.Desc% = Sensor_Device, PCI\VEN_1AF4&DEV_1055

[Sensor_Device.NT]
CopyFiles = Drivers_Dir

[Drivers_Dir]
sensor.sys

[Sensor_Device.NT.HW]
AddReg = Sensor_AddReg

[Sensor_AddReg]
HKR,"Interrupt Management\MessageSignaledInterruptProperties",MSISupported,%REG_DWORD%,1
HKR,"Interrupt Management\MessageSignaledInterruptProperties",MessageNumberLimit,%REG_DWORD%,0x4

[Sensor_Device.NT.Services]
AddService = sensor,%SPSVCINST_ASSOCSERVICE%,Sensor_Service_Inst

[Sensor_Service_Inst]
DisplayName    = %Sensor.SVCDESC%
ServiceType    = 1      ; SERVICE_KERNEL_DRIVER
StartType      = 3      ; SERVICE_DEMAND_START
ErrorControl   = 1      ; SERVICE_ERROR_NORMAL
ServiceBinary  = %13%\sensor.sys

[Sensor_Device.NT.Wdf]
KmdfService = sensor, Sensor_wdfsect

[Sensor_wdfsect]
KmdfLibraryVersion = 1.15

[Strings]
SPSVCINST_ASSOCSERVICE = 0x00000002
REG_DWORD      = 0x00010001
ProviderString = "Contoso"
MfgName        = "Contoso; makers of sensors"
ClassName      = "Samples"
DiskName       = "Sensor disk"
Device.Desc    = "Sensor"
Sensor.SVCDESC = "Sensor service"

[Strings.0407]
Device.Desc    = "Fühler"
"#;

/// An INF that adds a filter to what another INF installs.
const EXTENSION: &str = r#"
[Version]
Signature   = "$Windows NT$"
Class       = Extension
ClassGuid   = {e2f84ce7-8efa-411c-aa69-97454ca4cb57}
ExtensionId = {0aa1f6e4-6c3b-4cd9-9b06-0d1c8a1a6a11}
Provider    = "Contoso"
DriverVer   = 01/01/2026,1.0.0.0
CatalogFile = extra.cat
PnpLockdown = 1

[Manufacturer]
"Contoso" = Models, NTamd64.10.0...16299

[Models.NTamd64.10.0...16299]
"Extra" = Extra, PCI\VEN_1AF4&DEV_1055

[Extra]
AddReg = Settings

[Settings]
HKR,,Level,0x00010001,3
"#;

/// An INF that leaves everything to one of Windows' own.
const NEEDS: &str = r#"
[Version]
Signature   = "$Windows NT$"
Class       = USBDevice
ClassGuid   = {88BAE032-5A81-49f0-BC3D-A4FF138216D6}
Provider    = "Contoso"
DriverVer   = 01/01/2026,1.0.0.0
CatalogFile = usb.cat
PnpLockdown = 1

[Manufacturer]
"Contoso" = Models, NTamd64

[Models.NTamd64]
"Widget" = Widget, USB\VID_1209&PID_0001

[Widget.NT]
Include = winusb.inf
Needs   = WINUSB.NT

[Widget.NT.Services]
Include = winusb.inf
Needs   = WINUSB.NT.Services
"#;

fn report(name: &str, inf: &str, others: &[&str]) -> Report {
    let mut all = vec![File { name: name.into(), content: inf.replace('\n', "\r\n").into_bytes() }];
    all.extend(others.iter().map(|name| File { name: (*name).into(), content: b"MZ".to_vec() }));
    files(&all, NOW)
}

/// What is said of the INF itself, apart from the catalogue that these packages do not have.
fn of_the_inf<'a>(report: &'a Report, name: &'a str) -> Vec<&'a Finding> {
    let of_it = |finding: &&Finding| finding.place.starts_with(name) && !finding.what.ends_with(".cat is not in the package");
    report.findings.all().iter().filter(of_it).collect()
}

#[test]
fn good_infs_of_every_style_are_left_alone() {
    for (name, inf, others) in
        [("sensor.inf", STAMPED, &["sensor.sys"][..]), ("extra.inf", EXTENSION, &[]), ("usb.inf", NEEDS, &[])]
    {
        let report = report(name, inf, others);
        assert_eq!(of_the_inf(&report, name), [] as [&Finding; 0], "{name}");
    }
}

#[test]
fn a_utf_16_inf_is_read_like_any_other() {
    let wide = [0xfeff].into_iter().chain(STAMPED.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let all = [File { name: "sensor.inf".into(), content: wide }, File { name: "sensor.sys".into(), content: b"MZ".to_vec() }];
    assert_eq!(of_the_inf(&files(&all, NOW), "sensor.inf"), [] as [&Finding; 0]);
}

/// What is said of a file that the driver store would have to move.
const RENAMED: &str = "sensor.sys is given another name or folder in directory 13";

#[test]
fn what_is_wrong_in_a_strangers_inf_is_found_where_it_is_and_explained() {
    for (inf, from, to, severity, what) in [
        (STAMPED, "NTamd64.10.0...16299,", "NT$ARCH$.10.0...16299,", Severity::Error, "$ARCH$ has not been replaced"),
        (
            STAMPED,
            "KmdfLibraryVersion = 1.15",
            "KmdfLibraryVersion = $KMDFVERSION$",
            Severity::Error,
            "$KMDFVERSION$ has not been replaced",
        ),
        (STAMPED, "DriverVer   = 01-01-2026,10.0.26100.1", "DriverVer = ; stampinf", Severity::Error, "\"\" is no date"),
        (STAMPED, "NTamd64.10.0...16299,NTarm64", "NTx86.10.0,NTarm64", Severity::Error, "[Manufacturer] has no models for x64"),
        (
            STAMPED,
            "NTamd64.10.0...16299,NTarm64",
            "NTamd64.10.0...0x3f00,NTarm64",
            Severity::Error,
            "no section [Standard.NTamd64.10.0...0x3f00]",
        ),
        (
            STAMPED,
            "SPSVCINST_ASSOCSERVICE = 0x00000002",
            "SPSVCINST_ASSOCSERVICE = 0x00000800",
            Severity::Error,
            "no AddService has the flag 0x00000002",
        ),
        (STAMPED, r"%13%\sensor.sys", r"%12%\WUDFRd.sys", Severity::Warning, "WUDFRd.sys does not come with the package"),
        (STAMPED, r"%13%\sensor.sys", r"%11%\sensor.sys", Severity::Error, "ServiceBinary lies in \"%11%\""),
        (
            STAMPED,
            "[Sensor_Device.NT.Wdf]",
            "[Sensor_Device.NT.CoInstallers]\n[Sensor_Device.NT.Wdf]",
            Severity::Error,
            "[Sensor_Device.NT.CoInstallers] has co-installers",
        ),
        (STAMPED, "[Drivers_Dir]", "[Driver_Dir]", Severity::Error, "no section [Drivers_Dir]"),
        (EXTENSION, "ExtensionId = {0aa1f6e4", "Extension = {0aa1f6e4", Severity::Error, "an extension without an ExtensionId"),
        (EXTENSION, "[Settings]", "[Setting]", Severity::Error, "no section [Settings]"),
        (STAMPED, "$WINDOWS NT$", "$Chicago$", Severity::Error, "the Signature is $CHICAGO$"),
        (STAMPED, "%ProviderString%", "microsoft", Severity::Error, "the Provider is Microsoft"),
        (
            STAMPED,
            "{78A1C341-4539-11d3-B88D-00C04FAD5171}",
            "{4D36E97D-E325-11CE-BFC1-08002BE10318}",
            Severity::Error,
            "[ClassInstall32] for a class of Windows",
        ),
        (
            STAMPED,
            "[Sensor_Device.NT]",
            "[DefaultInstall.NTamd64]\n[Sensor_Device.NT]",
            Severity::Error,
            "[DefaultInstall.NTamd64] beside [Manufacturer]",
        ),
        (STAMPED, "[Drivers_Dir]\nsensor.sys", "[Drivers_Dir]\nfeeler.sys, sensor.sys", Severity::Error, RENAMED),
        (STAMPED, "DefaultDestDir = 13", "DefaultDestDir = 13, x64", Severity::Error, RENAMED),
        (
            STAMPED,
            "CopyFiles = Drivers_Dir",
            "DelFiles = Drivers_Dir",
            Severity::Warning,
            "DelFiles is a directive of older Windows",
        ),
        (
            EXTENSION,
            "HKR,,Level",
            r"HKLM,System\CurrentControlSet\Services\x,Level",
            Severity::Error,
            "it writes to the services' key",
        ),
        (
            EXTENSION,
            "HKR,,Level,0x00010001,3",
            "HKR,,CoInstallers32,0x00010000,\"a.dll\"",
            Severity::Error,
            "it registers a co-installer",
        ),
        (EXTENSION, "HKR,,Level", "HKCR,,Level", Severity::Warning, "it writes to HKCR"),
        (
            NEEDS,
            "Include = winusb.inf\nNeeds   = WINUSB.NT\n",
            "Needs = WINUSB.NT\n",
            Severity::Error,
            "no section [WINUSB.NT], which is needed",
        ),
        (
            NEEDS,
            "\n[Version]",
            "/* A comment of another language */\n[Version]",
            Severity::Warning,
            "a line before the first section",
        ),
    ] {
        let bad = inf.replace(from, to);
        assert_ne!(bad, inf, "{from}");
        let report = report("sensor.inf", &bad, &["sensor.sys"]);
        let found = of_the_inf(&report, "sensor.inf").into_iter().find(|finding| finding.what == what);
        let found = found.unwrap_or_else(|| panic!("{what}: {:#?}", report.findings.all()));
        assert_eq!(found.severity, severity, "{what}");
        let line = found.place.strip_prefix("sensor.inf:").and_then(|line| line.parse::<usize>().ok());
        assert!(line.is_some_and(|line| line <= bad.lines().count()), "{what}: {}", found.place);
        assert!(!found.why.is_empty() && !found.remedy.is_empty(), "{what}");
    }
}

#[test]
fn what_windows_allows_is_not_held_against_an_inf() {
    let protocol = STAMPED.replace("{78A1C341-4539-11d3-B88D-00C04FAD5171}", "{4D36E975-E325-11CE-BFC1-08002BE10318}");
    let protocol = protocol.replace("SPSVCINST_ASSOCSERVICE = 0x00000002", "SPSVCINST_ASSOCSERVICE = 0");
    let protocol =
        protocol.replace("[ClassInstall32]\nAddReg = SampleClass_RegistryAdd\n", "").replace("[SampleClass_", "[Strings.");
    let attributes = STAMPED.replace(
        "[Manufacturer]",
        "[SignatureAttributes]\nsensor.sys = SignatureAttributes.DRM\n[SignatureAttributes.DRM]\nDRMLevel = 1300\n[Manufacturer]",
    );
    let program = STAMPED.replace(
        "[Sensor_Service_Inst]",
        "[Program]\nServiceType = 0x10\nStartType = 3\nErrorControl = 1\nServiceBinary = %11%\\sensor.sys\n[Sensor_Service_Inst]",
    );
    let program = program.replace("AddService = sensor", "AddService = helper,,Program\nAddService = sensor");
    let own = STAMPED.replace(
        "[Sensor_Device.NT]\n",
        "[Sensor_Device.NT]\nNeeds = Common\n[Common]\nCopyFiles = Drivers_Dir\n[Sensor_Device.NT]\n",
    );
    for inf in [protocol, attributes, program, own] {
        assert_ne!(inf, STAMPED);
        assert_eq!(of_the_inf(&report("sensor.inf", &inf, &["sensor.sys"]), "sensor.inf"), [] as [&Finding; 0], "{inf}");
    }
}

#[test]
fn a_short_inf_that_stands_for_an_endless_one_is_cut_and_said_to_be() {
    let long = "x".repeat(1 << 20);
    let strings = format!("[Version]\na = {}\n[Strings]\nLong = {long}\n", "%Long%,".repeat(100_000));
    let lines = format!("[Version]\n{}", "a\n".repeat(100_001));
    for inf in [strings, lines] {
        let report = report("sensor.inf", &inf, &[]);
        assert!(report.findings.all().iter().any(|finding| finding.what == "not all of it was looked at"));
    }
}

#[test]
fn a_section_that_is_named_any_number_of_times_is_looked_at_once() {
    let keys: String = (0..20_000).map(|index| format!("HKCR,,a{index}\n")).collect();
    let files: String = (0..20_000).map(|index| format!("a{index}.sys\n")).collect();
    let disks: String = (0..20_000).map(|index| format!("a{index}.sys = 1\n")).collect();
    let many = |line: &str| line.repeat(10_000);
    let inf = format!(
        "[Version]\n[Manufacturer]\n{}[M.NT]\n{}[I.NT]\n{}{}[K]\n{keys}[F]\n{files}[SourceDisksFiles]\n{disks}",
        many("%m% = M, NT\n"),
        many("a = I, b\n"),
        many("AddReg = K, K\n"),
        many("CopyFiles = F, F\n"),
    );
    let findings = report("sensor.inf", &inf, &[]).findings;
    // Each entry once: a warning for each of the keys, three errors for each of the files, one for each use of a string that is not defined.
    let (warnings, errors) = (findings.count(Severity::Warning), findings.count(Severity::Error));
    assert!((20_000..20_100).contains(&warnings) && (70_000..70_100).contains(&errors), "{warnings} and {errors}");
    assert!(findings.all().len() <= 3 * 500 && findings.left_out() == warnings + errors - 1000, "{}", findings.left_out());
}

#[test]
fn text_that_windows_does_not_read_is_named() {
    let big: Vec<u8> = [0xfeff].into_iter().chain(STAMPED.encode_utf16()).flat_map(u16::to_be_bytes).collect();
    let marked = [&[0xef, 0xbb, 0xbf], STAMPED.as_bytes()].concat();
    for (content, expected) in [(big, "the text is UTF-16 BE"), (marked, "the text is UTF-8 with a mark")] {
        let all = [File { name: "sensor.inf".into(), content }, File { name: "sensor.sys".into(), content: b"MZ".to_vec() }];
        let report = files(&all, NOW);
        let found: Vec<&str> = of_the_inf(&report, "sensor.inf").into_iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(found, [expected]);
    }
}

#[test]
fn a_file_in_a_folder_of_its_own_is_not_looked_for_in_this_one() {
    let in_folders = [
        STAMPED.replace("sensor.sys = 1,,", "sensor.sys = 1,amd64"),
        STAMPED.replace("%DiskName%,,,\"\"", "%DiskName%,,,\\amd64"),
    ];
    for inf in in_folders.map(|inf| inf.replace("DefaultDestDir = 13", "DefaultDestDir = 13, amd64")) {
        assert_eq!(of_the_inf(&report("sensor.inf", &inf, &[]), "sensor.inf"), [] as [&Finding; 0]);
    }
    let missing = report("sensor.inf", STAMPED, &[]);
    assert!(of_the_inf(&missing, "sensor.inf").iter().any(|finding| finding.what == "sensor.sys is not in the package"));
}

/// A PE file of a kind, as short as one can be: headers and nothing else.
fn image(machine: u16, magic: u16) -> Vec<u8> {
    let mut image = vec![0_u8; 0x400];
    image[..2].copy_from_slice(b"MZ");
    image[0x3c] = 0x80;
    image[0x80..0x84].copy_from_slice(b"PE\0\0");
    image[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
    let optional: u16 = if magic == 0x20b { 240 } else { 224 };
    image[0x94..0x96].copy_from_slice(&optional.to_le_bytes());
    image[0x98..0x9a].copy_from_slice(&magic.to_le_bytes());
    let directories = 0x98 + if magic == 0x20b { 108 } else { 92 };
    image[directories] = 16;
    image
}

#[test]
fn drivers_for_other_machines_are_told_from_nonsense() {
    for (content, what) in [
        (image(0x14c, 0x10b), "a 32-bit driver"),
        (image(0xaa64, 0x20b), "machine type 0xaa64 is not x64"),
        (b"#!/bin/sh\n".to_vec(), "not a 64-bit PE file"),
        (b"\x7fELF".to_vec(), "not a 64-bit PE file"),
        (Vec::new(), "not a 64-bit PE file"),
    ] {
        let report = files(&[File { name: "a.sys".into(), content }], NOW);
        let found = report.findings.all().iter().find(|finding| finding.what.starts_with(what));
        let found = found.unwrap_or_else(|| panic!("{what}: {:#?}", report.findings.all()));
        assert!(found.severity == Severity::Error && !found.why.is_empty() && !found.remedy.is_empty());
    }
}

/// The catalogue as it is before it is signed: without certificates and signers.
fn unsigned(catalogue: &[u8]) -> Vec<u8> {
    let info = cms::content_info::ContentInfo::from_der(catalogue).unwrap();
    let mut data: cms::signed_data::SignedData = info.content.decode_as().unwrap();
    data.certificates = None;
    data.signer_infos = cms::signed_data::SignerInfos(der::asn1::SetOfVec::new());
    let content = der::Any::encode_from(&data).unwrap();
    cms::content_info::ContentInfo { content_type: info.content_type, content }.to_der().unwrap()
}

#[test]
fn a_catalogue_that_nobody_signed_is_said_to_be_that_and_its_list_is_still_checked() {
    let signer = Signer::generate().unwrap();
    let mut package = driver_package::package::make(Inf::relay(NOW - 86_400), common::driver(), Vec::new(), &signer).unwrap();
    let catalogue = package.iter_mut().find(|file| file.name == "relay.cat").unwrap();
    catalogue.content = unsigned(&catalogue.content);
    let said = |report: &Report| -> Vec<String> {
        report.findings.all().iter().map(|finding| format!("{}: {}", finding.place, finding.what)).collect()
    };
    let report = files(&package, NOW);
    assert!(said(&report).contains(&"relay.cat: it is not signed".to_owned()), "{:#?}", said(&report));
    assert!(!said(&report).iter().any(|finding| finding.contains("is not the file that")), "{:#?}", said(&report));

    package.iter_mut().find(|file| file.name == "relay.inf").unwrap().content.push(b'\n');
    let report = files(&package, NOW);
    let changed = "relay.inf: relay.inf is not the file that relay.cat lists".to_owned();
    assert!(said(&report).contains(&changed), "{:#?}", said(&report));
}

#[test]
fn two_packages_in_one_folder_are_each_checked() {
    let mut both = vec![];
    for (name, inf) in [("extra.inf", EXTENSION), ("usb.inf", NEEDS)] {
        both.push(File { name: name.into(), content: inf.as_bytes().to_vec() });
    }
    let report = files(&both, NOW);
    for missing in ["extra.cat is not in the package", "usb.cat is not in the package"] {
        assert!(report.findings.all().iter().any(|finding| finding.what == missing), "{missing}");
    }
}

#[test]
fn nonsense_in_a_folder_is_no_package_and_nothing_hangs_on_a_pipe() {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(place.path().join(name), bytes).unwrap();
    write("a.inf", &[0xff; 5000]);
    write("a.cat", b"PK\x03\x04");
    write("a.sys", &[0; 100]);
    write("a.cer", b"-----BEGIN CERTIFICATE-----\n");
    write("readme.txt", b"hello");
    std::fs::create_dir(place.path().join("folder.sys")).unwrap();
    let pipe = std::ffi::CString::new(place.path().join("pipe.inf").to_str().unwrap()).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let report = folder(Path::new(place.path())).unwrap();
    assert!(report.findings.count(Severity::Error) >= 3, "{:#?}", report.findings.all());
    assert!(report.findings.all().iter().all(|finding| !finding.why.is_empty() && !finding.remedy.is_empty()));
}
