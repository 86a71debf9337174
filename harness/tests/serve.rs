//! `rig serve`: the relay hardware for a QEMU of the user's own.

mod common;

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use common::{finish, mark, rig, signal, wait_for};

#[test]
fn it_prints_how_to_connect_and_leaves_no_socket_when_it_is_told_to_stop() {
    for (transport, device, stop) in [("vfio-user", "vfio-user-pci", "TERM"), ("vhost-user", "vhost-user-test-device-pci", "INT")]
    {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("relay.sock");
        let mut command = rig(&mark("serve"));
        command.args(["serve", "relay", "--log", "--transport", transport, "--socket"]).arg(&socket);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.next().unwrap(), format!("ready {}", socket.display()));
        let line = lines.next().unwrap();
        assert!(line.starts_with("qemu-system-x86_64 -machine q35,memory-backend=mem "), "{line}");
        assert!(line.contains(device) && line.contains(&socket.display().to_string()), "{line}");
        let _client = UnixStream::connect(&socket).unwrap();

        signal(child.id(), stop);

        let status = wait_for("the model to stop", || child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{transport}");
        assert!(!socket.exists());
    }
}

#[test]
fn what_cannot_be_served_is_said_with_the_right_status() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, socket) = (folder.path().join("plan.toml"), folder.path().join("relay.sock"));
    std::fs::write(&plan, "[[fault]]\nkind = \"bad-mood\"\n").unwrap();
    let said = finish(rig(&mark("serve-plan")).args(["serve", "relay", "--socket"]).arg(&socket).arg("--faults").arg(&plan));
    assert_eq!(said.exit, Some(2), "{said}");
    assert!(said.stderr.contains("why: line 2: unknown variant `bad-mood`"), "{said}");

    let said = finish(rig(&mark("serve-nowhere")).args(["serve", "relay", "--socket", "/nonexistent/relay.sock"]));
    assert_eq!(said.exit, Some(3), "{said}");
    assert!(said.stderr.contains("/nonexistent/relay.sock: cannot listen"), "{said}");

    let said = finish(rig(&mark("serve-what")).args(["serve", "toaster", "--socket"]).arg(&socket));
    assert_eq!(said.exit, Some(2), "{said}");
}
