//! What a filter answers for one system call, without asking the kernel.

use seccompiler::sock_filter;

/// What the kernel shows a filter: `struct seccomp_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyscallData {
    /// The system call's number.
    pub number: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// The address the call was made from.
    pub instruction_pointer: u64,
    /// The argument registers.
    pub arguments: [u64; 6],
}

impl SyscallData {
    /// The 32-bit word at `offset`, as on a little-endian machine.
    fn word(&self, offset: u32) -> Option<u32> {
        let half = |value: u64| {
            let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
            u32::from_le_bytes(if offset.is_multiple_of(8) { [a, b, c, d] } else { [e, f, g, h] })
        };
        match offset {
            _ if !offset.is_multiple_of(4) => None,
            0 => Some(self.number),
            4 => Some(self.arch),
            8 | 12 => Some(half(self.instruction_pointer)),
            _ => {
                let index = usize::try_from(offset.checked_sub(16)? / 8).ok()?;
                self.arguments.get(index).map(|argument| half(*argument))
            }
        }
    }
}

/// The answer of `program` for `data`: `SECCOMP_RET_*` and its data.
///
/// Knows the instructions that the kernel's `seccomp_check_filter` admits and filter compilers use: loads of words,
/// arithmetic and logic with constants, jumps and returns. None for a program with any other, and for one that jumps
/// out of itself or does not end with a return; the kernel takes no such program.
pub fn answer(program: &[sock_filter], data: &SyscallData) -> Option<u32> {
    let mut accumulator: u32 = 0;
    let mut index: u32 = 0;
    let mut at = 0;
    let mut scratch = [0; 16];
    loop {
        let instruction = program.get(at)?;
        let (code, k) = (instruction.code, instruction.k);
        at += 1;
        let jump = |taken: bool| usize::from(if taken { instruction.jt } else { instruction.jf });
        match code {
            0x20 => accumulator = data.word(k)?,
            0x00 => accumulator = k,
            0x01 => index = k,
            0x60 => accumulator = *scratch.get(usize::try_from(k).ok()?)?,
            0x02 => *scratch.get_mut(usize::try_from(k).ok()?)? = accumulator,
            0x07 => index = accumulator,
            0x87 => accumulator = index,
            0x44 => accumulator |= k,
            0x54 => accumulator &= k,
            0x05 => at += usize::try_from(k).ok()?,
            0x15 => at += jump(accumulator == k),
            0x25 => at += jump(accumulator > k),
            0x35 => at += jump(accumulator >= k),
            0x45 => at += jump(accumulator & k != 0),
            0x06 => return Some(k),
            0x16 => return Some(accumulator),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_where_the_kernel_puts_them() {
        let data =
            SyscallData { number: 1, arch: 2, instruction_pointer: 3 | 4 << 32, arguments: [5 | 6 << 32; 6] };
        let words: Vec<_> = (0..16).map(|word| data.word(word * 4).unwrap()).collect();
        assert_eq!(words, [1, 2, 3, 4, 5, 6, 5, 6, 5, 6, 5, 6, 5, 6, 5, 6]);
        assert_eq!(data.word(64), None);
        assert_eq!(data.word(2), None);
    }

    #[test]
    fn a_broken_program_has_no_answer() {
        let jump_out = [sock_filter { code: 0x05, jt: 0, jf: 0, k: u32::MAX }];
        assert_eq!(answer(&jump_out, &SyscallData::default()), None);
        assert_eq!(answer(&[], &SyscallData::default()), None);
    }
}
