//! What driver, model and tests agree on: the data sheet of the gadget, and what gadget.sys offers to programs.
#![no_std]

/// PCI vendor.
pub const VENDOR: u16 = 0x1234;
/// PCI device.
pub const DEVICE: u16 = 0xfade;

/// Size of BAR 0, in which the registers are. Each is 32 bits wide.
pub const REGISTERS: u64 = 4096;
/// Reads [`MAGIC`].
pub const IDENTITY: usize = 0x00;
/// A write starts the computation of the square of what is written.
pub const OPERAND: usize = 0x04;
/// The square, modulo 2³², once it is [`DONE`].
pub const RESULT: usize = 0x08;
/// [`BUSY`], [`DONE`]. Writing [`DONE`] takes it away, and the interrupt with it; writing [`BUSY`] gives up the computation.
pub const STATUS: usize = 0x0c;

/// What [`IDENTITY`] reads.
pub const MAGIC: u32 = 0x4741_4447;
/// A computation is under way.
pub const BUSY: u32 = 1;
/// A computation is done. The device interrupts while this is set.
pub const DONE: u32 = 2;

/// The device's name, as the driver makes it.
pub const SYMBOLIC_LINK: &str = r"\DosDevices\Gadget";
/// The same name, as a program opens it.
pub const OPEN_PATH: &str = r"\??\Gadget";
/// The device interface class, {6d9f3b52-0c1e-4a77-9e02-000000000000}, as the fields of a GUID.
pub const INTERFACE_CLASS: (u32, u16, u16, [u8; 8]) =
    (0x6d9f_3b52, 0x0c1e, 0x4a77, [0x9e, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00]);

/// I/O control: a number of 32 bits in, its square out. `FILE_DEVICE_UNKNOWN`, function 0x800, `METHOD_BUFFERED`, `FILE_ANY_ACCESS`.
pub const SQUARE: u32 = 0x22 << 16 | 0x800 << 2;
