//! Packages as a whole: made, checked, damaged, and looked at by programs that are not ours.

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use common::{HEADERS, driver, put};
use driver_package::authenticode;
use driver_package::finding::Severity;
use driver_package::inf::Inf;
use driver_package::key::Signer;
use driver_package::package::{File, Refused, make};
use driver_package::verify::{Report, files, folder};
use object::LittleEndian as LE;
use object::read::pe::{ImageNtHeaders as _, ImageOptionalHeader as _, PeFile64};

/// 2026-01-01 and the day after it.
const DATE: i64 = 1_767_225_600;
const NOW: i64 = DATE + 86_400;

fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| Signer::generate().unwrap())
}

fn package() -> Vec<File> {
    make(Inf::relay(DATE), driver(), b"symbols".to_vec(), signer()).unwrap()
}

fn content<'a>(files: &'a mut [File], name: &str) -> &'a mut Vec<u8> {
    &mut files.iter_mut().find(|file| file.name == name).unwrap().content
}

fn errors(report: &Report) -> Vec<String> {
    let errors = report.findings.all().iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| format!("{}: {}", finding.place, finding.what)).collect()
}

#[test]
fn a_package_made_here_is_clean_and_says_who_signed_it() {
    let report = files(&package(), NOW);
    assert_eq!(report.findings.all(), []);
    let who = "CN=wdfrig test signing (SHA-256), up to CN=wdfrig test signing";
    let expected = ["relay.cat: version 2 catalogue with 4 entries".to_owned(), format!("relay.cat: signed by {who}")];
    assert_eq!(report.facts, [&expected[..], &[format!("relay.sys: signed by {who}")]].concat());
}

#[test]
fn the_same_sources_and_key_make_the_same_bytes() {
    assert_eq!(package(), package());
}

#[test]
fn signing_again_changes_nothing_and_signing_does_not_change_the_digest() {
    let unsigned = driver();
    let signed = authenticode::sign(&unsigned, signer()).unwrap();
    assert_eq!(authenticode::sign(&signed, signer()).unwrap(), signed);
    let digest = authenticode::digest::<sha2::Sha256>;
    assert_eq!(digest(&unsigned).unwrap(), digest(&signed).unwrap());
}

#[test]
fn another_reader_finds_the_certificate_table_at_the_aligned_end_of_the_file() {
    let mut files = package();
    let image = content(&mut files, "relay.sys").clone();
    let file = PeFile64::parse(&*image).unwrap();
    let table = file.data_directory(object::pe::IMAGE_DIRECTORY_ENTRY_SECURITY).unwrap();
    let (start, size) = (table.virtual_address.get(LE) as usize, table.size.get(LE) as usize);
    assert_eq!((start % 8, start + size), (0, image.len()));
    assert_ne!(file.nt_headers().optional_header().check_sum(), 0);
}

type Damage = fn(&mut Vec<File>);

#[test]
fn each_kind_of_damage_is_found() {
    let cases: [(Damage, &str, &str); 9] = [
        (|files| content(files, "relay.sys")[0x210] ^= 1, "relay.sys", "relay.sys is not the file that relay.cat lists"),
        (|files| content(files, "relay.sys")[0x210] ^= 1, "relay.sys", "the signature is broken: the signed content is not"),
        (|files| content(files, "relay.inf").push(b'\n'), "relay.inf", "relay.inf is not the file that relay.cat lists"),
        (|files| content(files, "relay.sys")[HEADERS + 24 + 64] ^= 1, "relay.sys", "the header's checksum is"),
        (|files| files.retain(|file| file.name != "relay.cat"), "relay.inf", "relay.cat is not in the package"),
        (|files| files.retain(|file| file.name != "relay.sys"), "relay.inf:", "relay.sys is not in the package"),
        (|files| files.retain(|file| file.name != "relay.inf"), "package", "no .inf file"),
        (|files| content(files, "relay.cat").truncate(500), "relay.cat", "not a catalogue"),
        (|files| content(files, "relay.cer").truncate(100), "relay.cer", "not a certificate in DER"),
    ];
    for (damage, place, what) in cases {
        let mut files = package();
        damage(&mut files);
        let report = driver_package::verify::files(&files, NOW);
        let mut findings = report.findings.all().iter().filter(|finding| finding.severity == Severity::Error);
        let found = findings.any(|finding| finding.place.starts_with(place) && finding.what.starts_with(what));
        assert!(found, "{place}: {what}: {:#?}", errors(&report));
    }
}

#[test]
fn a_signature_by_another_key_than_the_certificate_in_the_folder_is_found() {
    let mut files = package();
    let other = Signer::generate().unwrap();
    *content(&mut files, "relay.cer") = other.certificate_der().unwrap();
    let errors = errors(&driver_package::verify::files(&files, NOW));
    assert!(
        errors.contains(&"relay.cat: signed by CN=wdfrig test signing, whose certificate is not in the folder".to_owned()),
        "{errors:?}"
    );
}

#[test]
fn a_driver_that_breaks_a_rule_is_not_packed() {
    let mut writable_code = driver();
    put(&mut writable_code, HEADERS + 24 + 240 + 36, &0xe800_0020u32.to_le_bytes());
    let refused = make(Inf::relay(DATE), writable_code, Vec::new(), signer()).unwrap_err();
    let Refused::Rules(findings) = refused else { panic!("{refused}") };
    assert_eq!(findings[0].what, "section .text is writable and executable");

    let mut pageable = driver();
    put(&mut pageable, HEADERS + 24 + 240 + 36, &0x6000_0020u32.to_le_bytes());
    assert!(matches!(make(Inf::relay(DATE), pageable, Vec::new(), signer()), Err(Refused::Rules(_))));
}

#[test]
fn no_truncated_and_no_corrupt_driver_panics() {
    let mut files = package();
    let good = content(&mut files, "relay.sys").clone();
    let mut check = |bytes: Vec<u8>| {
        *content(&mut files, "relay.sys") = bytes;
        let _ = driver_package::verify::files(&files[1..2], NOW);
    };
    for length in 0..good.len() {
        check(good[..length].to_vec());
    }
    // All header fields, then samples of the rest.
    for index in (0..0x200).chain((0x200..good.len()).step_by(9)) {
        for flip in [0xff, 0x80] {
            let mut bad = good.clone();
            bad[index] ^= flip;
            check(bad);
        }
    }
}

/// Where `part` is in `whole`.
fn find(whole: &[u8], part: &[u8]) -> usize {
    whole.windows(part.len()).position(|window| window == part).expect("it is in there")
}

#[test]
fn no_truncated_and_no_corrupt_catalogue_passes() {
    let mut files = package();
    let (good, certificate) = (content(&mut files, "relay.cat").clone(), content(&mut files, "relay.cer").clone());
    let mut errors_with = |bytes: Vec<u8>| {
        *content(&mut files, "relay.cat") = bytes;
        errors(&driver_package::verify::files(&files, NOW))
    };
    assert_eq!(errors_with(good.clone()), [] as [String; 0]);
    for length in (0..good.len()).step_by(7) {
        assert_ne!(errors_with(good[..length].to_vec()), [] as [String; 0], "cut at {length}");
    }
    // The list, which begins with its kind, up to the certificate; and the signature, which is the end.
    let list = find(&good, &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 10, 1])..find(&good, &certificate);
    for index in list.chain(good.len() - 256..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[index] ^= 0x20;
        assert_ne!(errors_with(bad), [] as [String; 0], "changed at {index}");
    }
    // What the certificate's issuer signed, which is the certificate's own holder here: what follows the names.
    let start = find(&good, &certificate);
    for index in (start + certificate.len() - 300..start + certificate.len()).step_by(31) {
        let mut bad = good.clone();
        bad[index] ^= 0x20;
        assert_ne!(errors_with(bad), [] as [String; 0], "certificate changed at {index}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_in_any_file_panic(bytes: Vec<u8>) {
        let named = ["a.inf", "a.sys", "a.cat", "a.cer"].map(|name| File { name: name.into(), content: bytes.clone() });
        let _ = files(&named, NOW);
        let mut inf = b"[Version]\nCatalogFile = a.cat\n".to_vec();
        inf.extend(&bytes);
        let _ = files(&[File { name: "a.inf".into(), content: inf }, named[2].clone()], NOW);
    }
}

/// Writes the package; the folder vanishes with the result.
fn written(package: &[File]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in package {
        std::fs::write(folder.path().join(&file.name), &file.content).unwrap();
    }
    std::fs::write(folder.path().join("relay.pem"), signer().certificate_pem().unwrap()).unwrap();
    folder
}

fn accepts(program: &PathBuf, folder: &std::path::Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(program);
    command.current_dir(folder).arg("verify").args(["-CAfile", "relay.pem"]).args(arguments);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success() && text.contains("Succeeded"), text)
}

#[test]
fn osslsigncode_accepts_the_driver_the_catalogue_and_the_driver_by_the_catalogue() {
    let Some(program) = test_tools::find("osslsigncode") else { return };
    let folder = written(&package());
    for arguments in [&["-in", "relay.sys"][..], &["-in", "relay.cat"], &["-catalog", "relay.cat", "-in", "relay.sys"]] {
        let (accepted, text) = accepts(&program, folder.path(), arguments);
        assert!(accepted, "{arguments:?}: {text}");
    }
}

#[test]
fn osslsigncode_refuses_what_was_changed() {
    let Some(program) = test_tools::find("osslsigncode") else { return };
    let mut package = package();
    content(&mut package, "relay.sys")[0x210] ^= 1;
    let folder = written(&package);
    for arguments in [&["-in", "relay.sys"][..], &["-catalog", "relay.cat", "-in", "relay.sys"]] {
        let (accepted, text) = accepts(&program, folder.path(), arguments);
        assert!(!accepted, "{arguments:?}: {text}");
    }
}

#[test]
fn a_driver_that_osslsigncode_signed_is_checked_like_our_own() {
    let Some(program) = test_tools::find("osslsigncode") else { return };
    let folder = written(&package());
    let keys = tempfile::tempdir().unwrap();
    let signer = Signer::of(keys.path()).unwrap();
    std::fs::write(folder.path().join("other.pem"), signer.certificate_pem().unwrap()).unwrap();
    std::fs::write(folder.path().join("plain.dat"), driver()).unwrap();
    let key = keys.path().join(driver_package::key::FILE);
    let arguments = ["sign", "-h", "sha256", "-certs", "other.pem", "-in", "plain.dat", "-out", "theirs.sys", "-key"];
    let output = Command::new(&program).current_dir(folder.path()).args(arguments).arg(key).output().unwrap();
    assert!(output.status.success(), "{output:?}");

    let report = driver_package::verify::folder(folder.path()).unwrap();

    let fact = "theirs.sys: signed by CN=wdfrig test signing (SHA-256), up to CN=wdfrig test signing";
    assert!(report.facts.iter().any(|own| own == fact), "{:?} {:?}", report.facts, report.findings);
    assert!(!errors(&report).iter().any(|error| error.contains("broken")), "{:?}", report.findings);
}

#[test]
fn a_folder_that_is_not_there_is_an_error_of_its_own() {
    assert!(folder(std::path::Path::new("/no/such/folder")).is_err());
}
