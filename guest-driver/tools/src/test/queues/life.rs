// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! How queues end: with their process, and with the device.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{bail, ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::uapi;

use super::{endless, fence, kernel_rings_work, page, queue, stands, Witness, DATA, FAR, PAGE, RINGS, WORKER};
use crate::drm::{Bo, Device, Domain, Space, Syncobj};
use crate::test::case::{eventually, refused, same, settled, Ctx, GLANCE, PATIENCE};
use crate::test::kmsg::ExpectErrors;

/// Entry point of a worker: makes two queues and a submission that never end, says so, and waits for its end.
pub fn worker(args: &[String]) -> Result<ExitCode> {
    let [config] = args else { bail!("a worker takes a configuration") };
    let device = Device::open()?;
    device.configure(config.parse()?)?;
    let (_flag, _data) = (page(&device, DATA)?, Bo::new(&device, 64 * PAGE, Domain::Vram)?);
    let mut queues = [queue(&device, 0, 0)?, queue(&device, 1, 1)?];
    for queue in &mut queues {
        let mut ib = endless(DATA);
        if config != "0" {
            // Waits for a page of its own; all workers for the same.
            ib = fence(DATA + FAR, 1);
        }
        queue.run(&ib)?;
    }
    let space = Space::new(&device, 0x10_0000, PAGE)?;
    let done = Syncobj::new(&device)?;
    space.submit(0, &if config == "0" { endless(DATA) } else { fence(DATA + 2 * FAR, 1) }, &done)?;
    std::thread::sleep(GLANCE);
    println!("ready");
    std::io::stdout().flush()?;
    std::thread::sleep(2 * PATIENCE);
    bail!("nobody killed it")
}

/// Starts a worker and waits until it says that it is ready.
pub fn doomed(config: u32) -> Result<Child> {
    let mut child = Command::new("/proc/self/exe")
        .args(["uvm-test", WORKER, &config.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a worker")?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("a worker without output")?).read_line(&mut line)?;
    ensure!(line == "ready\n", "a worker did not get ready: {line:?}");
    Ok(child)
}

pub fn killed_process_leaves_no_queue_behind(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let used = || Ok((device.param(uapi::PARAM_VRAM_USED)?, device.param(uapi::PARAM_FREE_QUEUES)?));
    let before = settled(used)?;
    // The submission that never ends is ended by its timeout.
    let _expected = ExpectErrors::begin(ctx);
    for _ in 0..3 {
        let mut child = doomed(0)?;
        same("free queues meanwhile", used()?.1, 2)?;
        child.kill()?;
        child.wait()?;
        let mut witnesses =
            [Witness::new(ctx, 0)?, Witness::new(ctx, 0)?, Witness::new(ctx, 1)?, Witness::new(ctx, 1)?];
        for witness in &mut witnesses {
            witness.works()?;
        }
    }
    ensure!(
        eventually(PATIENCE, || Ok(used()? == before))?,
        "VRAM and queues: expected {before:?}, seen {:?}",
        used()?
    );
    kernel_rings_work(ctx)
}

/// The device goes while queues run and wait, and a client waits to be told of a fault.
pub fn unbound_device_ends_queues_and_waits(ctx: &Ctx) -> Result<()> {
    let (running, parked) = (ctx.device()?, ctx.device()?);
    parked.configure(uapi::VM_CONFIG_RETRY)?;
    page(&running, DATA)?;
    let mut queues = [queue(&running, 0, 0)?, queue(&parked, 1, 0)?];
    queues[0].run(&endless(DATA))?;
    queues[1].run(&fence(DATA, 1))?;
    stands(&queues[1], uapi::QUEUE_PARKED, 0)?;
    let waiter = std::thread::spawn(|| {
        let device = Device::open()?;
        device.configure(uapi::VM_CONFIG_RETRY)?;
        anyhow::Ok(device.next_fault(4 * PATIENCE).map(|fault| fault.is_some()))
    });
    std::thread::sleep(GLANCE);
    let name = crate::test::reload::bound_device()?;
    std::fs::write("/sys/bus/virtio/drivers/uvm/unbind", &name).context("unbinding")?;
    let gone = [Errno::NODEV];
    let calls = || -> Result<()> {
        refused("a kick", queues[0].kick(), &gone)?;
        refused("a look", queues[1].info(), &gone)?;
        let mut arg = uapi::QueueCreate { ring_va: RINGS, ring_size: PAGE, ..Default::default() };
        refused("a queue of a device that is gone", running.queue_raw(&mut arg), &gone)?;
        let waited = waiter.join().map_err(|_| anyhow::anyhow!("the waiter panicked"))??;
        refused("a wait for a fault", waited, &gone)
    };
    let result = calls();
    drop(queues);
    drop((running, parked));
    std::fs::write("/sys/bus/virtio/drivers/uvm/bind", &name).context("binding again")?;
    result?;
    for engine in [0, 0, 1, 1] {
        Witness::new(ctx, engine)?.works()?;
    }
    kernel_rings_work(ctx)
}
