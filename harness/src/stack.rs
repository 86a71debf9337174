//! Return addresses on a stack, found by search: what follows a call in a module, and lies on the stack, is likely one. It works without
//! symbols and unwind data, but what an earlier call left may be among the results.

/// Longest call instruction that is looked for.
const LONGEST_CALL: usize = 7;

/// Addresses in `stack` that `is_code` knows and that a call precedes, innermost first. `read` reads the target's memory and tells
/// whether all of it was there.
pub fn return_addresses(
    stack: &[u8],
    is_code: impl Fn(u64) -> bool,
    mut read: impl FnMut(u64, &mut [u8]) -> bool,
) -> impl Iterator<Item = u64> {
    let words = stack.chunks_exact(8).filter_map(|word| word.try_into().ok().map(u64::from_le_bytes));
    words.filter(move |address| is_code(*address)).filter(move |address| follows_call(*address, &mut read))
}

fn follows_call(address: u64, read: &mut impl FnMut(u64, &mut [u8]) -> bool) -> bool {
    let mut code = [0; LONGEST_CALL];
    let Some(start) = address.checked_sub(LONGEST_CALL as u64) else { return false };
    if !read(start, &mut code) {
        return false;
    }
    const DIRECT: u8 = 0xe8;
    const LENGTH_OF_DIRECT: usize = 5;
    code[LONGEST_CALL - LENGTH_OF_DIRECT] == DIRECT
        || (0..LONGEST_CALL).any(|at| length_of_indirect_call(&code[at..]) == Some(LONGEST_CALL - at))
}

/// How long the call by register or memory is that `code` begins with.
fn length_of_indirect_call(code: &[u8]) -> Option<usize> {
    let [0xff, operand, rest @ ..] = code else { return None };
    if operand >> 3 & 7 != 2 {
        return None;
    }
    let (mode, place) = (operand >> 6, operand & 7);
    let has_index = mode != 3 && place == 4;
    let displacement = match mode {
        1 => 1,
        2 => 4,
        0 if place == 5 || has_index && rest.first()? & 7 == 5 => 4,
        _ => 0,
    };
    Some(2 + usize::from(has_index) + displacement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_follows_a_call_is_a_return_address() {
        // At 0x105: a direct call ends. At 0x10b: an indirect call by memory ends.
        let code = [0xe8, 1, 2, 3, 4, 0xff, 0x15, 1, 2, 3, 4, 0x90, 0x90];
        let read = |address: u64, buffer: &mut [u8]| {
            for (place, at) in buffer.iter_mut().zip(address..) {
                *place = usize::try_from(at).ok().and_then(|at| code.get(at.wrapping_sub(0x100))).copied().unwrap_or(0);
            }
            true
        };
        let stack: Vec<u8> = [0x105u64, 0x10c, 0x10b, 0x9000, 3].iter().flat_map(|word| word.to_le_bytes()).collect();
        let is_code = |address: u64| (0x100..0x200).contains(&address) || address == 3;
        assert_eq!(return_addresses(&stack, is_code, read).collect::<Vec<_>>(), [0x105, 0x10b]);
    }
}
