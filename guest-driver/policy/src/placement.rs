// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Which domains a buffer should be tried in, and in what order.

use crate::error::Error;
use crate::moves::Domain;
use crate::table::Few;

/// A set of domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainMask(u32);

impl DomainMask {
    /// Each of them.
    pub const ALL: Self = Self(0b111);
    /// None of them.
    pub const NONE: Self = Self(0);

    /// From bits `1 << domain`; bits that name no domain are an error.
    pub fn from_bits(bits: u32) -> Result<Self, Error> {
        if bits & !Self::ALL.0 != 0 {
            return Err(Error::Invalid);
        }
        Ok(Self(bits))
    }

    /// Bits `1 << domain`.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// The set with one more domain.
    #[must_use]
    pub fn with(self, domain: Domain) -> Self {
        Self(self.0 | domain.bit())
    }

    /// Whether a domain is in the set.
    pub fn has(self, domain: Domain) -> bool {
        self.0 & domain.bit() != 0
    }

    /// Whether no domain is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What is known of a buffer when its place is chosen.
#[derive(Clone, Copy, Debug)]
pub struct PlacementRequest {
    /// Size in bytes, not zero.
    pub size: u64,
    /// Where it may be.
    pub allowed: DomainMask,
    /// Where its user would like it to be, if allowed there.
    pub preferred: Option<Domain>,
    /// The CPU touches it about as often as the GPU does: GTT is better than VRAM behind a BAR.
    pub cpu_access: bool,
}

/// Up to one entry a domain, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainList(Few<Domain, 3>);

impl DomainList {
    /// The domains, best first; empty when none can ever hold the buffer.
    pub fn as_slice(&self) -> &[Domain] {
        self.0.as_slice()
    }
}

/// How a domain stands towards a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// A free range fits now.
    Now,
    /// It would fit if others went away.
    AfterEviction,
    /// Larger than the segment, or no such segment.
    Never,
}

/// Orders the allowed domains: those with room now first, within them the preferred one, then VRAM, GTT,
/// SYSTEM (GTT before VRAM when the CPU is a frequent user).
///
/// Domains that are full but large enough come last instead of not at all: the caller that fails everywhere
/// can make room there.
pub(crate) fn order(request: &PlacementRequest, room: impl Fn(Domain) -> Room) -> DomainList {
    let usual = if request.cpu_access {
        [Domain::Gtt, Domain::Vram, Domain::System]
    } else {
        [Domain::Vram, Domain::Gtt, Domain::System]
    };
    let mut list = Few::new(Domain::System);
    for wanted in [Room::Now, Room::AfterEviction] {
        let preferred = request.preferred.into_iter();
        let others = usual.into_iter().filter(|domain| Some(*domain) != request.preferred);
        for domain in preferred.chain(others) {
            if request.allowed.has(domain) && room(domain) == wanted {
                list.push(domain);
            }
        }
    }
    DomainList(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> PlacementRequest {
        PlacementRequest { size: 4096, allowed: DomainMask::ALL, preferred: None, cpu_access: false }
    }

    #[test]
    fn vram_comes_first_when_everything_has_room() {
        let list = order(&request(), |_| Room::Now);

        assert_eq!(list.as_slice(), [Domain::Vram, Domain::Gtt, Domain::System]);
    }

    #[test]
    fn full_domain_goes_behind_those_with_room() {
        let list = order(&request(), |d| if d == Domain::Vram { Room::AfterEviction } else { Room::Now });

        assert_eq!(list.as_slice(), [Domain::Gtt, Domain::System, Domain::Vram]);
    }

    #[test]
    fn preferred_domain_leads_among_equals_only() {
        let wish = PlacementRequest { preferred: Some(Domain::System), ..request() };

        assert_eq!(order(&wish, |_| Room::Now).as_slice(), [Domain::System, Domain::Vram, Domain::Gtt]);
        let list = order(&wish, |d| if d == Domain::System { Room::AfterEviction } else { Room::Now });
        assert_eq!(list.as_slice(), [Domain::Vram, Domain::Gtt, Domain::System]);
    }

    #[test]
    fn too_small_and_disallowed_domains_are_left_out() {
        let wish = PlacementRequest { allowed: DomainMask::NONE.with(Domain::Vram).with(Domain::Gtt), ..request() };

        let list = order(&wish, |d| if d == Domain::Vram { Room::Never } else { Room::Now });

        assert_eq!(list.as_slice(), [Domain::Gtt]);
    }

    #[test]
    fn cpu_access_puts_gtt_before_vram() {
        let wish = PlacementRequest { cpu_access: true, ..request() };

        assert_eq!(order(&wish, |_| Room::Now).as_slice(), [Domain::Gtt, Domain::Vram, Domain::System]);
    }

    #[test]
    fn unknown_domain_bits_are_invalid() {
        assert_eq!(DomainMask::from_bits(8), Err(Error::Invalid));
    }
}
