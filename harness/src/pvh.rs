//! Guests of a few hundred bytes: ELF images for QEMU's `-kernel` that follow a short script of serial output, serial input
//! and waiting. They prove that an accelerator runs anything at all, and they misbehave on request for the harness's own tests.
//!
//! An image is started by the PVH protocol: 32-bit protected mode, flat segments, no paging, interrupts off.

/// I/O port of the first serial line.
pub const COM1: u16 = 0x3f8;
/// I/O port of the second serial line.
pub const COM2: u16 = 0x2f8;
/// I/O port of `isa-debug-exit` as [`crate::qemu`] places it.
pub const EXIT_PORT: u16 = 0xf4;

/// Where the image is loaded and entered.
const BASE: u32 = 0x10_0000;
/// Offset of the code in the file; the headers fit before it.
const CODE_OFFSET: usize = 0x1000;
/// Type of the ELF note that carries the 32-bit entry point.
const NOTE_PHYS32_ENTRY: u32 = 18;

/// Where a frame is collected; above the image, below 4 MiB.
const BUFFER: u32 = 0x20_0000;
const BUFFER_SIZE: u32 = 0x1_0000;

/// What to do when a certain frame arrives.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The frame, with the zero byte that ends it.
    pub request: Vec<u8>,
    /// Whole seconds to wait before the answer, at least.
    pub seconds: u32,
    /// Text for the log on COM1.
    pub log: Vec<u8>,
    /// Bytes to send back.
    pub reply: Vec<u8>,
    /// What follows.
    pub then: Then,
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// The next frame.
    #[default]
    GoOn,
    /// QEMU's end, see [`Script::exit`].
    Exit(u32),
    /// A reset of the machine.
    TripleFault,
}

/// A script under construction; its steps run one after another.
#[derive(Clone, Debug, Default)]
pub struct Script {
    code: Vec<u8>,
}

impl Script {
    /// A script without steps.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends `bytes` on the serial line at `port`.
    #[must_use]
    pub fn send(mut self, port: u16, bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return self;
        }
        let address = self.data(bytes);
        self.op(0xbe).imm32(address); // mov esi, address
        self.op(0xb9).imm32(length_of(bytes)); // mov ecx, length
        let next = self.code.len();
        self.bytes(&[0xac, 0x88, 0xc4]); // lodsb; mov ah, al
        self.port(port + 5).bytes(&[0xec, 0xa8, 0x20, 0x74, 0xfb]); // wait: in al, dx; test al, 0x20; jz wait
        self.port(port).bytes(&[0x88, 0xe0, 0xee]); // mov al, ah; out dx, al
        self.loop_back(next);
        self
    }

    /// Answers frames on the serial line at `port`, each ended by a zero byte, for ever. What no answer is for is dropped.
    #[must_use]
    pub fn serve(mut self, port: u16, answers: &[Answer]) -> Self {
        let again = self.code.len();
        self.op(0xbf).imm32(BUFFER); // mov edi, BUFFER
        let next = self.code.len();
        self.bytes(&[0x81, 0xff]).imm32(BUFFER + BUFFER_SIZE); // cmp edi, end of buffer
        self.bytes(&[0x0f, 0x83]).relative32(again); // jae again
        self.port(port + 5).bytes(&[0xec, 0xa8, 0x01, 0x74, 0xfb]); // wait: in al, dx; test al, 1; jz wait
        self.port(port).bytes(&[0xec, 0xfc, 0xaa, 0x84, 0xc0]); // in al, dx; cld; stosb; test al, al
        self.bytes(&[0x0f, 0x85]).relative32(next); // jnz next
        self.bytes(&[0x89, 0xfd, 0x81, 0xed]).imm32(BUFFER); // mov ebp, edi; sub ebp, BUFFER: the frame's length
        for answer in answers {
            self = self.one_answer(port, answer, again);
        }
        self.jump(again);
        self
    }

    fn one_answer(mut self, port: u16, answer: &Answer, again: usize) -> Self {
        let length = length_of(&answer.request);
        let request = self.data(&answer.request);
        self.bytes(&[0x81, 0xfd]).imm32(length); // cmp ebp, length
        let other_length = self.forward_jump(0x85); // jne
        self.op(0xbe).imm32(request).op(0xbf).imm32(BUFFER).op(0xb9).imm32(length); // mov esi, …; mov edi, …; mov ecx, …
        self.bytes(&[0xfc, 0xf3, 0xa6]); // cld; repe cmpsb
        let other_bytes = self.forward_jump(0x85); // jne
        if answer.seconds > 0 {
            self = self.wait(answer.seconds);
        }
        self = self.send(COM1, &answer.log).send(port, &answer.reply);
        match answer.then {
            Then::GoOn => {}
            Then::Exit(value) => self = self.exit(value),
            Then::TripleFault => self = self.triple_fault(),
        }
        self.jump(again);
        self.land(other_length);
        self.land(other_bytes);
        self
    }

    /// Waits for so many whole seconds of the machine's clock, and for what is left of the second before.
    #[must_use]
    pub fn wait(mut self, seconds: u32) -> Self {
        self.op(0xb9).imm32(seconds + 1); // mov ecx, seconds + 1
        self.bytes(&[0xb0, 0x00, 0xe6, 0x70, 0xe4, 0x71, 0x88, 0xc4]); // next: mov al, 0; out 0x70, al; in al, 0x71; mov ah, al
        self.bytes(&[0xb0, 0x00, 0xe6, 0x70, 0xe4, 0x71, 0x38, 0xe0]); // same: mov al, 0; out 0x70, al; in al, 0x71; cmp al, ah
        self.bytes(&[0x74, 0xf6, 0xe2, 0xec]); // je same; loop next
        self
    }

    /// Keeps the processor busy for `turns` turns of an empty loop.
    #[must_use]
    pub fn spin(mut self, turns: u32) -> Self {
        self.op(0xb9).imm32(turns).bytes(&[0xe2, 0xfe]); // mov ecx, turns; here: loop here
        self
    }

    /// Ends QEMU with exit status `value * 2 + 1`.
    #[must_use]
    pub fn exit(mut self, value: u32) -> Self {
        self.op(0xb8).imm32(value).port(EXIT_PORT).op(0xef); // mov eax, value; out dx, eax
        self
    }

    /// Resets the machine by a triple fault.
    #[must_use]
    pub fn triple_fault(mut self) -> Self {
        // An interrupt descriptor table of no length, then a breakpoint.
        let address = self.data(&[0; 6]);
        self.bytes(&[0x0f, 0x01, 0x1d]).imm32(address).op(0xcc); // lidt [address]; int3
        self
    }

    /// The finished image. After its last step the guest stands still.
    #[must_use]
    pub fn image(mut self) -> Vec<u8> {
        self.bytes(&[0xfa, 0xf4, 0xeb, 0xfc]); // cli; halt: hlt; jmp (back to cli)
        wrap(&self.code)
    }

    fn op(&mut self, byte: u8) -> &mut Self {
        self.code.push(byte);
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.code.extend_from_slice(bytes);
        self
    }

    fn imm32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// `mov dx, port`
    fn port(&mut self, port: u16) -> &mut Self {
        self.bytes(&[0x66, 0xba]).bytes(&port.to_le_bytes())
    }

    /// The last four bytes of a jump to `target`.
    fn relative32(&mut self, target: usize) -> &mut Self {
        let after = self.code.len() + 4;
        let distance = i64::try_from(target).unwrap_or(0) - i64::try_from(after).unwrap_or(0);
        self.bytes(&i32::try_from(distance).unwrap_or(0).to_le_bytes())
    }

    /// `jmp target`
    fn jump(&mut self, target: usize) {
        self.op(0xe9).relative32(target);
    }

    /// A conditional jump whose target comes later; returns what [`Self::land`] needs.
    fn forward_jump(&mut self, condition: u8) -> usize {
        self.bytes(&[0x0f, condition]).imm32(0);
        self.code.len()
    }

    /// Makes a forward jump land here.
    fn land(&mut self, after_jump: usize) {
        let distance = length_of(&self.code[after_jump..]);
        self.code[after_jump - 4..after_jump].copy_from_slice(&distance.to_le_bytes());
    }

    /// `dec ecx; jnz target`, for any distance.
    fn loop_back(&mut self, target: usize) {
        self.bytes(&[0x49, 0x0f, 0x85]).relative32(target);
    }

    /// Places `bytes` in the code, jumps over them, and returns their address.
    fn data(&mut self, bytes: &[u8]) -> u32 {
        self.op(0xe9).imm32(length_of(bytes)); // jmp over
        let address = BASE + length_of(&self.code);
        self.bytes(bytes);
        address
    }
}

fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a script stays far below 4 GiB")
}

/// An ELF file that holds `code` at [`BASE`] and names it as PVH entry point.
fn wrap(code: &[u8]) -> Vec<u8> {
    const HEADER: u64 = 64;
    const PROGRAM_HEADER: u64 = 56;
    const NOTE_OFFSET: u64 = HEADER + 2 * PROGRAM_HEADER;
    let mut note = Vec::new();
    note.extend(4u32.to_le_bytes());
    note.extend(8u32.to_le_bytes());
    note.extend(NOTE_PHYS32_ENTRY.to_le_bytes());
    note.extend(b"Xen\0");
    note.extend(u64::from(BASE).to_le_bytes());

    let mut file = Vec::with_capacity(CODE_OFFSET + code.len());
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend(2u16.to_le_bytes()); // an executable
    file.extend(62u16.to_le_bytes()); // x86-64
    file.extend(1u32.to_le_bytes());
    file.extend(u64::from(BASE).to_le_bytes()); // entry
    file.extend(HEADER.to_le_bytes()); // program headers
    file.extend(0u64.to_le_bytes()); // no section headers
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 2, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let size = code.len() as u64;
    let segments = [
        (1u32, 7u32, CODE_OFFSET as u64, u64::from(BASE), size, 0x1000u64),
        (4, 4, NOTE_OFFSET, NOTE_OFFSET, note.len() as u64, 4),
    ];
    for (kind, flags, offset, address, size, align) in segments {
        file.extend(kind.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for value in [offset, address, address, size, size, align] {
            file.extend(value.to_le_bytes());
        }
    }
    file.extend(note);
    file.resize(CODE_OFFSET, 0);
    file.extend(code);
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{Object as _, ObjectSegment as _};

    #[test]
    fn an_image_is_an_elf_file_whose_entry_is_its_code() {
        let image = Script::new().send(COM1, b"hello").exit(1).image();
        let file = object::File::parse(&*image).unwrap();
        assert_eq!(file.entry(), u64::from(BASE));
        let segment = file.segments().find(|segment| segment.address() == u64::from(BASE)).unwrap();
        assert!(segment.data().unwrap().windows(5).any(|window| window == b"hello"));
    }

    #[test]
    fn a_jump_over_data_lands_behind_it() {
        let mut script = Script::new();
        let address = script.data(b"abc");
        assert_eq!(script.code, [0xe9, 3, 0, 0, 0, b'a', b'b', b'c']);
        assert_eq!(address, BASE + 5);
    }
}
