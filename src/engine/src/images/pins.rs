//! What is in use right now, and must not be collected although nothing written down names it yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use casemate_spec::wire::{HexId, Tenant};

/// Something that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pin {
    /// A tenant's image.
    Image(Tenant, HexId),
    /// A layer of the store.
    Layer(HexId),
    /// A blob.
    Blob(HexId),
}

/// All of them, and how often.
#[derive(Debug, Clone, Default)]
pub struct Pins(Arc<Mutex<HashMap<Pin, usize>>>);

/// Keeps what it was made for until it is dropped.
#[derive(Debug)]
pub struct Hold {
    pins: Pins,
    held: Vec<Pin>,
}

impl Pins {
    /// Holds some.
    pub fn hold(&self, pins: impl IntoIterator<Item = Pin>) -> Hold {
        let mut hold = Hold { pins: self.clone(), held: Vec::new() };
        hold.extend(pins);
        hold
    }

    /// Whether somebody holds it.
    pub fn held(&self, pin: &Pin) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(pin)
    }
}

impl Hold {
    /// Holds some more.
    pub fn extend(&mut self, pins: impl IntoIterator<Item = Pin>) {
        let mut all = self.pins.0.lock().unwrap_or_else(PoisonError::into_inner);
        for pin in pins {
            *all.entry(pin.clone()).or_default() += 1;
            self.held.push(pin);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut all = self.pins.0.lock().unwrap_or_else(PoisonError::into_inner);
        for pin in self.held.drain(..) {
            if let Some(count) = all.get_mut(&pin) {
                *count -= 1;
                if *count == 0 {
                    all.remove(&pin);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_hold_stays_until_both_let_go() {
        let pins = Pins::default();
        let layer = Pin::Layer(HexId::from_bytes([1; 32]));
        let first = pins.hold([layer.clone()]);
        let mut second = pins.hold([]);
        second.extend([layer.clone(), layer.clone()]);
        drop(first);
        assert!(pins.held(&layer));
        drop(second);
        assert!(!pins.held(&layer));
    }
}
