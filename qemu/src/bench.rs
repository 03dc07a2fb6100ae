// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Figures measured from outside the guest, and the guest's own.

use std::time::Duration;

use crate::failure::Failure;
use crate::lab::Lab;
use crate::options::Options;
use crate::watch::Job;

/// Boots of each kind; they take turns, so that a machine that slows down slows both.
const BOOTS: usize = 5;
/// The device may make the boot this much longer.
const BOOT_BAR: f64 = 1.3;
const LIMIT: Duration = Duration::from_secs(900);

/// Runs `uvm-bench` with these suites in a guest; `boot` is measured here. With none, both.
///
/// # Errors
/// [`Failure::TestsFailed`] when a figure misses its bar; as [`Lab::run`].
pub fn bench(options: &Options, suites: &[String]) -> Result<i32, Failure> {
    let lab = Lab::prepare(options)?;
    let of_guest: Vec<&String> = suites.iter().filter(|suite| *suite != "boot").collect();
    if suites.is_empty() || of_guest.len() != suites.len() {
        boot(&lab, true)?;
    }
    if suites.is_empty() || !of_guest.is_empty() {
        let words = std::iter::once("uvm-bench".to_owned()).chain(of_guest.into_iter().cloned());
        let limit = options.time_limit(Some(LIMIT));
        let job = Job { show: true, signals: true, limit, ..Job::command(words) };
        return Ok(lab.run(&job, &mut |_| ())?.status);
    }
    Ok(0)
}

/// Compares the boot to the first command with the device against the boot without it, and prints the figure.
///
/// # Errors
/// [`Failure::TestsFailed`] when the ratio misses its bar; as [`Lab::run`].
pub fn boot(lab: &Lab, signals: bool) -> Result<f64, Failure> {
    let bare = lab.without_device();
    let time = |lab: &Lab| -> Result<f64, Failure> {
        let limit = lab.options().time_limit(Some(LIMIT));
        let report = lab.run(&Job { signals, limit, ..Job::command(["true"]) }, &mut |_| ())?;
        let run =
            report.stage("run").ok_or_else(|| Failure::TestsFailed("the guest did not say when it ran".into()))?;
        Ok(run.as_secs_f64())
    };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..BOOTS {
        without.push(time(&bare)?);
        with.push(time(lab)?);
    }
    let (with, without) = (median(with), median(without));
    let ratio = with / without;
    println!("figure boot_with_device value={with:.2}s limit={without:.2}s ratio={ratio:.2} bar={BOOT_BAR}");
    if ratio <= BOOT_BAR {
        Ok(ratio)
    } else {
        Err(Failure::TestsFailed(format!("the boot with the device takes {ratio:.2} times the boot without it")))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    #[test]
    fn median_is_the_middle_one() {
        assert!((super::median(vec![9.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }
}
