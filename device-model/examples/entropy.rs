//! A virtio entropy source (virtio 1.2, section 5.4), whose entropy is none: the same bytes each time. The virtio device of
//! `docs/your-device.md`, on either transport.

use std::process::ExitCode;

use device_model::virtio::{Chain, Host, VirtioDevice};

const QUEUE: u16 = 0;

#[derive(Default)]
pub(crate) struct Entropy {
    state: u64,
    chain: Chain,
}

impl Entropy {
    fn next(&mut self) -> u8 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.state >> 56) as u8
    }
}

impl VirtioDevice for Entropy {
    fn virtio_id(&self) -> u16 {
        4
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[64]
    }

    fn config_size(&self) -> usize {
        0
    }

    fn read_config(&mut self, _offset: usize, _data: &mut [u8]) {}

    fn notified(&mut self, _queue: u16, host: &mut dyn Host) {
        let mut chain = std::mem::take(&mut self.chain);
        while host.pop(QUEUE, &mut chain) {
            let bytes: [u8; 256] = std::array::from_fn(|_| self.next());
            let room = chain.writable().min(256) as usize;
            let written = if chain.write(host.memory(), 0, &bytes[..room]).is_ok() { room } else { 0 };
            host.push(QUEUE, chain.head(), written as u32);
        }
        self.chain = chain;
    }

    fn reset_queue(&mut self, _queue: u16) {}

    fn reset(&mut self, _now: u64) {
        self.state = 0;
    }
}

fn main() -> ExitCode {
    device_model::serve::virtio(Entropy::default)
}
