// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The faults that the suites `inject` and `removal` rehearse: the backend is given one a case, which strikes once the
//! case writes its number to a scratch register. The guest's `uvm-test` has the same numbers.

use crate::options::Options;

/// What goes wrong, by number from 1.
const FAULTS: [&str; 9] = [
    "hang:ring=sdma0.gfx",
    "lose-irq",
    "delay-irq:by=200ms",
    "corrupt-pte:va=0x100001000,xor=1",
    "ecc:page=0x4000000",
    "ih-storm:count=20000,rate=100",
    "slow-dma:factor=4",
    "stuck-invalidate",
    "remove",
];
/// What is added to a number in the register.
const FIRST: usize = 0x1_0000;
/// What tells the guest that its faults are there.
const WORD: &str = "uvm_inject";

/// Whether any of these suites or cases wants faults.
pub fn is_wanted(suites: &[String]) -> bool {
    suites.iter().any(|name| ["inject", "removal"].contains(&name.split('.').next().unwrap_or_default()))
}

/// The same options, with the faults.
pub fn arm(options: &Options) -> Options {
    let mut options = options.clone();
    for (fault, number) in FAULTS.iter().zip(FIRST + 1..) {
        let separator = if fault.contains(':') { ',' } else { ':' };
        options.backend_args.push(format!("--inject={fault}{separator}at=BIOS_SCRATCH_15={number:#x}"));
    }
    options.append.push(WORD.to_owned());
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_and_their_cases_want_faults_and_others_do_not() {
        let wanted = |names: &[&str]| is_wanted(&names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>());
        assert!(wanted(&["inject"]) && wanted(&["bo", "removal"]) && wanted(&["inject.lost_interrupt_is_noticed"]));
        assert!(!wanted(&["bo", "reload.inject"]) && !wanted(&[]));
    }

    #[test]
    fn each_fault_has_a_trigger_of_its_own() {
        let options = arm(&Options::default());
        assert_eq!(options.backend_args.len(), FAULTS.len());
        assert_eq!(options.backend_args[1], "--inject=lose-irq:at=BIOS_SCRATCH_15=0x10002");
        assert_eq!(options.backend_args[4], "--inject=ecc:page=0x4000000,at=BIOS_SCRATCH_15=0x10005");
    }
}
