//! Classic BPF from the last instruction to the first.
//!
//! Jumps in classic BPF only go forward, and conditional ones at most 255 instructions. Written backwards, every
//! target is known when the jump to it is written, and a target out of reach gets a stepping stone on the spot:
//! a copy, if it is a return, or an unconditional jump, whose reach is not limited.

use seccompiler::sock_filter;

/// The most instructions the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// The filter grew past [`MAX_INSTRUCTIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// An instruction already written, to jump to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(usize);

/// A comparison of the accumulator with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Equal.
    Equal,
    /// Greater or equal, unsigned.
    GreaterEqual,
    /// Greater, unsigned.
    Greater,
    /// Any of the constant's bits set.
    AnyBit,
}

/// What in `struct seccomp_data` to load into the accumulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The system call's number.
    Number,
    /// The audit architecture.
    Arch,
    /// The low half of an argument, by index (0 to 5).
    Low(u32),
    /// Its high half.
    High(u32),
}

// linux/bpf_common.h
const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;

/// Leaves room for stepping stones that are written between measuring a distance and writing the jump.
const REACH: usize = 250;

/// A program under construction.
#[derive(Debug, Default)]
pub struct Emitter {
    reversed: Vec<sock_filter>,
    returns: Vec<(u32, Label)>,
}

impl Emitter {
    /// The finished program.
    pub fn finish(mut self) -> Vec<sock_filter> {
        self.reversed.reverse();
        self.reversed
    }

    /// Ends the filter with `action` (`SECCOMP_RET_*` and its data).
    pub fn ret(&mut self, action: u32) -> Result<Label, TooLong> {
        let known = self.returns.iter().find(|(value, _)| *value == action).map(|(_, label)| *label);
        match known {
            Some(label) if self.distance(label) <= REACH => Ok(label),
            _ => {
                let label = self.push(RETURN, 0, 0, action)?;
                self.returns.retain(|(value, _)| *value != action);
                self.returns.push((action, label));
                Ok(label)
            }
        }
    }

    /// Loads `field`, then goes on at `next`.
    pub fn load(&mut self, field: Field, next: Label) -> Result<Label, TooLong> {
        self.fall_to(next)?;
        let offset = match field {
            Field::Number => 0,
            Field::Arch => 4,
            // Both architectures are little endian.
            Field::Low(index) => 16 + 8 * index,
            Field::High(index) => 20 + 8 * index,
        };
        self.push(LOAD_WORD, 0, 0, offset)
    }

    /// Masks the accumulator, then goes on at `next`.
    pub fn and(&mut self, mask: u32, next: Label) -> Result<Label, TooLong> {
        self.fall_to(next)?;
        self.push(AND, 0, 0, mask)
    }

    /// Goes to `yes` if the accumulator compares so with `value`, else to `no`.
    pub fn branch(&mut self, how: Compare, value: u32, yes: Label, no: Label) -> Result<Label, TooLong> {
        if yes == no {
            return Ok(yes);
        }
        let code = match how {
            Compare::Equal => 0x15,
            Compare::Greater => 0x25,
            Compare::GreaterEqual => 0x35,
            Compare::AnyBit => 0x45,
        };
        let yes = self.near(yes)?;
        let no = self.near(no)?;
        let (Ok(jt), Ok(jf)) = (u8::try_from(self.distance(yes)), u8::try_from(self.distance(no))) else {
            return Err(TooLong);
        };
        self.push(code, jt, jf, value)
    }

    /// A label for the same place that a conditional jump written next can reach.
    fn near(&mut self, label: Label) -> Result<Label, TooLong> {
        let distance = self.distance(label);
        if distance <= REACH {
            return Ok(label);
        }
        match self.reversed.get(label.0) {
            Some(target) if target.code == RETURN => self.ret(target.k),
            _ => self.jump(distance),
        }
    }

    /// Makes the instruction written next go on at `label`.
    fn fall_to(&mut self, label: Label) -> Result<(), TooLong> {
        match self.distance(label) {
            0 => Ok(()),
            distance => self.jump(distance).map(drop),
        }
    }

    fn jump(&mut self, distance: usize) -> Result<Label, TooLong> {
        self.push(JUMP, 0, 0, u32::try_from(distance).map_err(|_| TooLong)?)
    }

    /// How many instructions a jump written next would skip.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len().saturating_sub(label.0 + 1)
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Result<Label, TooLong> {
        if self.reversed.len() >= MAX_INSTRUCTIONS {
            return Err(TooLong);
        }
        self.reversed.push(sock_filter { code, jt, jf, k });
        Ok(Label(self.reversed.len() - 1))
    }
}
