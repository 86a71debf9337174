//! Install media and answer disks against other people's tools: what they write we read, what we write they read.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Output};

use harness::windows::answer_disk;
use harness::windows::media::Media;

/// Name of an edition that a recipe of the repository installs, and its build.
const EDITION: (&str, &str) = ("Windows Server 2025 SERVERSTANDARDCORE", "26100");

fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A folder as media have it, with a WIM file that wimlib made.
fn media_folder(wimlib: &Path, folder: &Path) {
    for name in ["content", "media/sources", "media/efi/boot"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    fs::write(folder.join("content/hello.txt"), "hello").unwrap();
    fs::write(folder.join("media/efi/boot/bootx64.efi"), "MZ").unwrap();
    let properties = [("WINDOWS/ARCH", "9"), ("WINDOWS/VERSION/BUILD", EDITION.1)];
    let image = "media/sources/install.wim";
    for edition in ["Windows Server 2025 SERVERDATACENTER", EDITION.0] {
        let verb = if folder.join(image).exists() { "append" } else { "capture" };
        let mut command = Command::new(wimlib);
        command.current_dir(folder).args([verb, "content", image, edition]);
        command.args(properties.iter().map(|(name, value)| format!("--image-property={name}={value}")));
        succeeds(&mut command);
    }
}

fn rig(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rig")).args(arguments).output().unwrap()
}

#[test]
fn media_that_others_made_are_read_on_both_file_systems() {
    let (Some(wimlib), Some(genisoimage)) = (test_tools::find("wimlib-imagex"), test_tools::find("genisoimage")) else { return };
    let folder = tempfile::tempdir().unwrap();
    media_folder(&wimlib, folder.path());
    for (options, file_system) in [(&["-udf"][..], "UDF"), (&["-J"], "ISO 9660"), (&["-iso-level", "3"], "ISO 9660")] {
        let iso = folder.path().join("media.iso");
        succeeds(Command::new(&genisoimage).args(["-quiet", "-o"]).arg(&iso).args(options).arg(folder.path().join("media")));
        let media = Media::inspect(&iso).unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(media.file_system, file_system);
        let edition = media.edition(EDITION.0).unwrap();
        assert_eq!((edition.index, edition.build.to_string().as_str(), edition.is_x64), (2, EDITION.1, true));
        assert_eq!(edition.bytes, 5, "the hello");
    }
}

#[test]
fn a_udf_disc_that_is_cut_off_or_damaged_anywhere_is_an_error_and_nothing_worse() {
    let (Some(wimlib), Some(genisoimage)) = (test_tools::find("wimlib-imagex"), test_tools::find("genisoimage")) else { return };
    let folder = tempfile::tempdir().unwrap();
    media_folder(&wimlib, folder.path());
    let iso = folder.path().join("media.iso");
    succeeds(Command::new(&genisoimage).args(["-quiet", "-udf", "-o"]).arg(&iso).arg(folder.path().join("media")));
    let whole = fs::read(&iso).unwrap();
    let file = fs::File::options().write(true).open(&iso).unwrap();
    // Volume, folders and entries lie in the first sectors; what follows are the files.
    for sector in (32..300).filter(|sector| whole[sector * 2048..][..2048].iter().any(|byte| *byte != 0)) {
        for at in (0..256).step_by(5).map(|at| sector * 2048 + at) {
            file.write_all_at(&[!whole[at]], at as u64).unwrap();
            drop(Media::inspect(&iso));
            file.write_all_at(&whole[at..=at], at as u64).unwrap();
        }
    }
    assert!(Media::inspect(&iso).is_ok(), "the damage was undone");
    for length in (0..whole.len() as u64).rev().step_by(8191) {
        file.set_len(length).unwrap();
        drop(Media::inspect(&iso));
    }
}

#[test]
fn the_commands_say_what_media_hold_and_write_the_answer_disk_for_them() {
    let (Some(wimlib), Some(genisoimage)) = (test_tools::find("wimlib-imagex"), test_tools::find("genisoimage")) else { return };
    let Some(mtools) = test_tools::find("mtools") else { return };
    let folder = tempfile::tempdir().unwrap();
    media_folder(&wimlib, folder.path());
    let (iso, disk) = (folder.path().join("media.iso"), folder.path().join("answers.img"));
    succeeds(Command::new(&genisoimage).args(["-quiet", "-udf", "-o"]).arg(&iso).arg(folder.path().join("media")));
    let (iso, disk) = (iso.to_str().unwrap(), disk.to_str().unwrap());

    let said = rig(&["image", "inspect", "--iso", iso]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert!(String::from_utf8_lossy(&said.stdout).contains("recipe server-2025 installs"), "{said:?}");

    let refused = rig(&["image", "inspect", "--iso", iso, "--edition", "Windows 95"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("SERVERDATACENTER"), "{refused:?}");

    let written = rig(&["image", "answers", "--iso", iso, "--out", disk]);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let answers = succeeds(Command::new(mtools).args(["-c", "mtype", "-i", &format!("{disk}@@1M"), "::autounattend.xml"]));
    assert!(String::from_utf8_lossy(&answers.stdout).contains(EDITION.0));
    // Neither the answers nor, by a slip, the media are written over.
    for out in [disk, iso] {
        let refused = rig(&["image", "answers", "--iso", iso, "--out", out]);
        assert!(
            refused.status.code() == Some(2) && String::from_utf8_lossy(&refused.stderr).contains("is there already"),
            "{refused:?}"
        );
    }
}

#[test]
fn mtools_reads_every_file_of_an_answer_disk() {
    let Some(mtools) = test_tools::find("mtools") else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.img");
    let big = vec![7; 5_000_000];
    answer_disk::write(
        &disk,
        &[("autounattend.xml", b"<a/>"), ("rig/package/relay.inf", b"[Version]"), ("rig/big file.bin", &big)],
    )
    .unwrap();
    let image = format!("{}@@1M", disk.display());
    let read = |name: &str| succeeds(Command::new(&mtools).args(["-c", "mtype", "-i", &image, name])).stdout;
    assert_eq!(read("::rig/package/relay.inf"), b"[Version]");
    assert!(read("::rig/big file.bin") == big);
    let listed = succeeds(Command::new(&mtools).args(["-c", "mdir", "-/", "-i", &image, "::"])).stdout;
    assert!(String::from_utf8_lossy(&listed).contains("3 files"), "{}", String::from_utf8_lossy(&listed));
}

/// A `rig` with a target folder of its own, so that its images are nobody else's.
struct Alone(tempfile::TempDir);

impl Alone {
    fn new() -> Self {
        let rig = Path::new(env!("CARGO_BIN_EXE_rig"));
        let folder = tempfile::tempdir_in(rig.ancestors().nth(2).unwrap()).unwrap();
        fs::create_dir(folder.path().join("debug")).unwrap();
        fs::write(folder.path().join("CACHEDIR.TAG"), "").unwrap();
        fs::hard_link(rig, folder.path().join("debug/rig")).unwrap();
        Self(folder)
    }

    /// Exit code, standard output and standard error of `rig image` with these words.
    fn image(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let said = Command::new(self.0.path().join("debug/rig")).arg("image").args(words).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (said.status.code(), text(&said.stdout), text(&said.stderr))
    }
}

#[test]
fn what_cannot_be_built_is_named_before_anything_is_fetched_or_written() {
    let (Some(wimlib), Some(genisoimage)) = (test_tools::find("wimlib-imagex"), test_tools::find("genisoimage")) else { return };
    let folder = tempfile::tempdir().unwrap();
    media_folder(&wimlib, folder.path());
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (iso, page, other, nowhere) = (place("media.iso"), place("page.iso"), place("other.iso"), place("nowhere.iso"));
    succeeds(Command::new(&genisoimage).args(["-quiet", "-udf", "-o", &iso, &place("media")]));
    succeeds(Command::new(&genisoimage).args(["-quiet", "-J", "-o", &other, &place("content")]));
    // A download that broke off, and media whose image is in pieces.
    let (cut, pieces) = (place("cut.iso"), place("pieces.iso"));
    let whole = fs::read(&iso).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    fs::create_dir_all(place("split/sources")).unwrap();
    fs::write(place("split/sources/install.swm"), "MSWIM").unwrap();
    succeeds(Command::new(&genisoimage).args(["-quiet", "-udf", "-o", &pieces, &place("split")]));
    fs::write(&page, "<!DOCTYPE html><html><body>Please sign in</body></html>").unwrap();
    let rig = Alone::new();
    for (words, exit, part) in [
        (&["--iso", &nowhere][..], 2, "cannot be opened"),
        (&["--iso", &page], 3, "it is a web page that was saved"),
        (&["--iso", &cut], 3, "it is cut off: it has "),
        (&["--iso", &pieces], 3, "has its Windows in pieces"),
        (&["--iso", &other], 3, "has neither sources/install.wim nor sources/install.esd"),
        (&["--iso", &iso, "--edition", "Windows 95"], 2, "does not hold \"Windows 95\""),
        (&["--iso", &iso, "--recipe", "windows-3.11"], 2, "server-2025"),
        (&["--iso", &iso, "--name", "../up"], 2, "cannot be called \"../up\""),
        (&["--iso", &iso, "--virtio-iso", &nowhere], 2, "cannot be opened"),
        (&["--iso", &iso, "--virtio-iso", &page], 3, "it is a web page that was saved"),
        (&["--iso", &iso, "--virtio-iso", &other], 3, "has no virtio drivers for \"Windows Server 2025"),
    ] {
        let (code, _, said) = rig.image(&[&["build"], words].concat());
        assert_eq!(code, Some(exit), "{words:?}: {said}");
        assert!(said.contains(part), "{words:?}: {said}");
    }
    assert!(!rig.0.path().join("rig").exists(), "nothing was written");
}

#[test]
fn commands_about_images_that_there_are_not_say_so() {
    let rig = Alone::new();
    let image = |words: &[&str]| rig.image(words);
    let (code, listed, hint) = image(&["list"]);
    assert_eq!((code, listed.as_str()), (Some(0), ""));
    assert!(hint.contains("no images yet"), "{hint}");
    for verb in ["verify", "remove"] {
        for (name, part) in
            [("nobody", "there is no Windows image nobody"), ("a/b", "cannot be called"), ("..", "cannot be called")]
        {
            let (code, _, said) = image(&[verb, name]);
            assert!(code == Some(2) && said.contains(part), "{verb} {name}: {said}");
        }
        assert_eq!(image(&[verb]).0, Some(2), "a name is wanted");
    }
    let broken = rig.0.path().join("rig/images/broken");
    fs::create_dir_all(&broken).unwrap();
    fs::write(broken.join("manifest.json"), "{").unwrap();
    let (code, _, said) = image(&["verify", "broken"]);
    assert!(code == Some(3) && said.contains("is no image's manifest"), "{said}");
}
