//! `rig package verify` as a user meets it: what it prints, and how it ends.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

fn verify(folder: &Path) -> (Option<i32>, String) {
    let output: Output = common::rig(&common::mark("package")).args(["package", "verify"]).arg(folder).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code(), text)
}

#[test]
fn a_folder_that_is_not_there_is_the_users_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = verify(&folder.path().join("missing"));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("missing is no folder that can be checked") && text.contains("do: name the folder"), "{text}");
}

#[test]
fn an_empty_folder_is_no_package() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = verify(folder.path());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("error: package: no .inf file\n  why: ") && text.ends_with("2 errors, 1 warnings\n"), "{text}");
}

#[test]
fn a_strangers_files_are_explained_and_cannot_steer_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.inf"), b"[Version]\nSignature = x\nCatalogFile = \x1b[2Jbad.cat\n").unwrap();
    fs::write(folder.path().join("bad.sys"), b"MZ").unwrap();
    let (code, text) = verify(folder.path());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("error: bad.sys: not a 64-bit PE file"), "{text}");
    assert!(text.contains("error: bad.inf:1: the Signature is not $Windows NT$"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}
