//! `rig triage` of what is no dump. What a dump tells is tested where dumps are read; a real one, where a debugger is.

mod common;

#[test]
fn what_is_no_dump_is_refused_with_what_it_is_and_what_to_do() {
    let mark = common::mark("triage");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        std::fs::write(folder.path().join(name), content).unwrap();
        folder.path().join(name)
    };
    let empty_folder = folder.path().join("run");
    std::fs::create_dir(&empty_folder).unwrap();
    for (path, why, remedy) in [
        (file("empty.dmp", b""), "it has 0 bytes", "name a 64-bit kernel dump"),
        (file("text.dmp", &[b'x'; 10_000]), "it begins with xxxxxxxx", "name a 64-bit kernel dump"),
        (folder.path().join("nowhere.dmp"), "No such file", "name a 64-bit kernel dump"),
        (empty_folder, "no crash dump in", "--dump"),
        ("/dev/null".into(), "it is no file", "name a 64-bit kernel dump"),
    ] {
        let said = common::finish(common::rig(&mark).arg("triage").arg(&path));
        assert_eq!(said.exit, Some(2), "{}: {said}", path.display());
        assert!(said.stderr.contains(why) && said.stderr.contains(remedy), "{}: {said}", path.display());
        assert_eq!(said.stdout, "");
    }
}
