//! What a user of QEMU must type to meet a device that is served here.

use std::path::Path;

use crate::virtio::VirtioDevice;

/// Memory of the virtual machine, in the example. It must be shared, since the device reads and writes it.
const MACHINE: &str = "-machine q35,memory-backend=mem -object memory-backend-memfd,id=mem,size=1G,share=on -m 1G";

/// A command line for QEMU 10.1 or newer with a vfio-user device on `socket`.
pub fn to_vfio_user(socket: &Path) -> String {
    let device = serde_json::json!({
        "driver": "vfio-user-pci",
        "socket": { "type": "unix", "path": absolute(socket) },
    });
    format!("qemu-system-x86_64 {MACHINE} -device {}", quoted(&device.to_string()))
}

/// A command line for QEMU 10.2 or newer with a virtio device on the vhost-user socket `socket`.
pub fn to_vhost_user(socket: &Path, device: &impl VirtioDevice) -> String {
    // In a list of options a comma is written twice.
    let chardev = format!("socket,id=device,path={}", absolute(socket).replace(',', ",,"));
    let sizes = device.queue_sizes();
    format!(
        "qemu-system-x86_64 {MACHINE} -chardev {} -device vhost-user-test-device-pci,chardev=device,virtio-id={},\
         num_vqs={},vq_size={},config_size={}",
        quoted(&chardev),
        device.virtio_id(),
        sizes.len(),
        sizes.iter().max().unwrap_or(&0),
        device.config_size()
    )
}

/// QEMU may be started in another folder.
fn absolute(socket: &Path) -> String {
    std::path::absolute(socket).as_deref().unwrap_or(socket).display().to_string()
}

/// One word for a shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"=,./_-:".contains(&byte);
    if word.bytes().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_anything_in_it_reaches_qemu_whole() {
        let line = to_vfio_user(Path::new("/tmp/it's a \"path\""));
        assert!(
            line.ends_with(r#"-device '{"driver":"vfio-user-pci","socket":{"path":"/tmp/it'\''s a \"path\"","type":"unix"}}'"#),
            "{line}"
        );

        let line = to_vhost_user(Path::new("/tmp/a,b"), &crate::relay::RelayDevice::new());
        assert!(line.contains("-chardev socket,id=device,path=/tmp/a,,b -device vhost-user-test-device-pci,"), "{line}");
        assert!(line.ends_with("virtio-id=21,num_vqs=3,vq_size=256,config_size=48"), "{line}");
    }

    #[test]
    fn a_relative_path_is_made_absolute() {
        let folder = std::env::current_dir().unwrap();
        assert!(to_vfio_user(Path::new("socket")).contains(&folder.join("socket").display().to_string()));
    }
}
