//! QEMU without a guest: its qtest interface plays the processor. One program of commands, one line of answer each.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use device_model::memory::{Memory, Region};
use device_model::testing::Registers;
use vm_memory::{FileOffset, Permissions};

/// Longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// Memory of the virtual machine.
const MEMORY: u64 = 64 << 20;

/// The QEMU that the harness names, or `None` after saying so.
pub(crate) fn qemu() -> Option<PathBuf> {
    let found = std::env::var_os("RIG_QEMU").map(PathBuf::from);
    if found.is_none() {
        println!("skipped: no QEMU (RIG_QEMU is not set)");
    }
    found
}

/// A virtual machine with one device under test, in slot 5 of the root bus.
pub(crate) struct Machine {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    /// Guest memory, shared with QEMU.
    pub(crate) memory: Arc<Memory>,
    /// Where the BARs have been put.
    bars: [u64; 6],
}

impl Machine {
    /// Start QEMU with more arguments of its own.
    pub(crate) fn start(qemu: &Path, folder: &Path, arguments: &[&str]) -> Self {
        Self::start_as("q35", qemu, folder, arguments)
    }

    /// Start QEMU as another machine.
    pub(crate) fn start_as(kind: &str, qemu: &Path, folder: &Path, arguments: &[&str]) -> Self {
        let file =
            std::fs::File::options().read(true).write(true).create(true).truncate(true).open(folder.join("memory")).unwrap();
        file.set_len(MEMORY).unwrap();
        let region = Region::from_file(0, MEMORY, Permissions::ReadWrite, FileOffset::new(file, 0)).unwrap();
        let backend = format!("memory-backend-file,id=mem,size={MEMORY},share=on,mem-path={}", folder.join("memory").display());
        Self::start_with(kind, &backend, Memory::default().with(region).unwrap(), qemu, arguments)
    }

    /// Start QEMU with memory that it does not share; [`Machine::memory`] is another one, of the same size: see [`Machine::upload`].
    pub(crate) fn start_unshared(qemu: &Path, arguments: &[&str]) -> Self {
        let memory = Memory::default().with(Region::anonymous(0, MEMORY).unwrap()).unwrap();
        Self::start_with("q35", &format!("memory-backend-ram,id=mem,size={MEMORY}"), memory, qemu, arguments)
    }

    fn start_with(kind: &str, backend: &str, memory: Memory, qemu: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(qemu)
            .args(["-machine", &format!("{kind},memory-backend=mem"), "-object", backend, "-m", &format!("{}M", MEMORY >> 20)])
            .args(["-accel", "qtest", "-qtest", "stdio", "-qtest-log", "none", "-display", "none", "-nodefaults"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("RIG_QEMU names a program");
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let input = child.stdin.take().unwrap();
        Self { child, input, lines, memory: Arc::new(memory), bars: [0; 6] }
    }

    /// Copy a part of [`Machine::memory`] into QEMU's.
    pub(crate) fn upload(&mut self, address: u64, length: usize) {
        let mut bytes = vec![0; length];
        self.memory.read_at(address, &mut bytes).unwrap();
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.command(&format!("write {address:#x} {length:#x} 0x{digits}"));
    }

    /// Copy a part of QEMU's memory into [`Machine::memory`].
    pub(crate) fn download(&mut self, address: u64, length: usize) {
        let words = self.command(&format!("read {address:#x} {length:#x}"));
        let digits = words[0].trim_start_matches("0x");
        let bytes: Vec<u8> = (0..length).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect();
        self.memory.write_at(address, &bytes).unwrap();
    }

    /// Run one qtest command. Returns the words behind OK.
    pub(crate) fn command(&mut self, command: &str) -> Vec<String> {
        writeln!(self.input, "{command}").expect("QEMU runs");
        loop {
            let line = self.lines.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("QEMU does not answer `{command}`"));
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("OK") => return words.collect(),
                // Interrupt lines that change are told in between.
                Some("IRQ") => {}
                _ => panic!("`{command}` is answered with `{line}`"),
            }
        }
    }

    fn number(&mut self, command: &str) -> u64 {
        let words = self.command(command);
        u64::from_str_radix(words[0].trim_start_matches("0x"), 16).unwrap()
    }

    /// Read a word of configuration space.
    pub(crate) fn config(&mut self, offset: u32) -> u32 {
        self.command(&format!("outl 0xcf8 {:#x}", 0x8000_2800 | offset));
        self.number("inl 0xcfc") as u32
    }

    /// Write a word of configuration space.
    pub(crate) fn set_config(&mut self, offset: u32, value: u32) {
        self.command(&format!("outl 0xcf8 {:#x}", 0x8000_2800 | offset));
        self.command(&format!("outl 0xcfc {value:#x}"));
    }

    /// Give a memory BAR an address.
    pub(crate) fn place_bar(&mut self, bar: usize, address: u64) {
        let offset = 0x10 + 4 * bar as u32;
        self.set_config(offset, address as u32);
        if self.config(offset) & 5 == 4 {
            self.set_config(offset + 4, (address >> 32) as u32);
        }
        self.bars[bar] = address;
    }

    /// Size of a BAR as the processor finds it: what of an address is kept.
    pub(crate) fn bar_mask(&mut self, bar: usize) -> u64 {
        let offset = 0x10 + 4 * bar as u32;
        let wide = self.config(offset) & 4 != 0 && self.config(offset) & 1 == 0;
        self.set_config(offset, u32::MAX);
        let low = u64::from(self.config(offset));
        if !wide {
            return low;
        }
        self.set_config(offset + 4, u32::MAX);
        u64::from(self.config(offset + 4)) << 32 | low
    }

    /// Offset of a capability.
    pub(crate) fn capability(&mut self, id: u8) -> u32 {
        self.find_capability(|word| word as u8 == id)
    }

    /// BAR and offset of a virtio structure.
    pub(crate) fn virtio_structure(&mut self, kind: u8) -> (usize, u32) {
        let at = self.find_capability(|word| word as u8 == 0x09 && (word >> 24) as u8 == kind);
        ((self.config(at + 4) & 0xff) as usize, self.config(at + 8))
    }

    fn find_capability(&mut self, wanted: impl Fn(u32) -> bool) -> u32 {
        let mut at = self.config(0x34) & 0xff;
        loop {
            assert_ne!(at, 0, "no such capability");
            let word = self.config(at);
            if wanted(word) {
                return at;
            }
            at = word >> 8 & 0xff;
        }
    }
}

impl Registers for Machine {
    fn read(&mut self, bar: usize, offset: u64, data: &mut [u8]) {
        let name = ["readb", "readw", "readl", "readq"][data.len().ilog2() as usize];
        let value = self.number(&format!("{name} {:#x}", self.bars[bar] + offset));
        let length = data.len();
        data.copy_from_slice(&value.to_le_bytes()[..length]);
    }

    fn write(&mut self, bar: usize, offset: u64, data: &[u8]) {
        let name = ["writeb", "writew", "writel", "writeq"][data.len().ilog2() as usize];
        let mut bytes = [0; 8];
        bytes[..data.len()].copy_from_slice(data);
        self.command(&format!("{name} {:#x} {:#x}", self.bars[bar] + offset, u64::from_le_bytes(bytes)));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
