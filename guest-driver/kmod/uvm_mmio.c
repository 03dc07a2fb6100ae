// SPDX-License-Identifier: GPL-2.0
/*
 * The device's face: the window in the virtio config space, by which every
 * register is reached, and the queues of doorbells and of interrupts.
 */

#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>

#include "uvm_drv.h"

/* Enough for the interrupts that can be pending: the device merges them. */
#define UVM_MAX_EVENTS		16
#define UVM_MAX_MSGS		128
/* A queue that is full for so long does not move any more. */
#define UVM_DOORBELL_TIMEOUT	(2 * HZ)

/**
 * uvm_win_get32() - read a dword of the window
 * @vdev: the device
 * @offset: UVM_WIN_OFF_*
 *
 * The accessors of the config space are called directly: virtio_cread() adds
 * nothing but might_sleep() and the conversion, and is made for structures.
 *
 * Return: the dword.
 */
u32 uvm_win_get32(struct virtio_device *vdev, u32 offset)
{
	__le32 value;

	vdev->config->get(vdev, offset, &value, sizeof(value));
	return le32_to_cpu(value);
}

/**
 * uvm_win_get64() - read a field of 64 bits that never changes
 * @vdev: the device
 * @offset: UVM_WIN_OFF_*
 *
 * Return: the field; its halves are read one after the other.
 */
u64 uvm_win_get64(struct virtio_device *vdev, u32 offset)
{
	u64 low = uvm_win_get32(vdev, offset);

	return low | (u64)uvm_win_get32(vdev, offset + 4) << 32;
}

/**
 * uvm_win_counter() - read a field of 64 bits that grows
 * @uvm: the device
 * @offset: UVM_WIN_OFF_*
 *
 * Context: may sleep.
 * Return: the counter, its halves from the same moment.
 */
u64 uvm_win_counter(struct uvm_device *uvm, u32 offset)
{
	u32 low, high, again;

	mutex_lock(&uvm->mmio.lock);
	again = uvm_win_get32(uvm->vdev, offset + 4);
	do {
		high = again;
		low = uvm_win_get32(uvm->vdev, offset);
		again = uvm_win_get32(uvm->vdev, offset + 4);
	} while (high != again);
	mutex_unlock(&uvm->mmio.lock);
	return low | (u64)high << 32;
}

static void uvm_win_set32(struct virtio_device *vdev, u32 offset, u32 value)
{
	__le32 le = cpu_to_le32(value);

	vdev->config->set(vdev, offset, &le, sizeof(le));
}

/* The sequence number makes each CMD differ from the last, or it is not seen. */
static void uvm_win_command(struct uvm_device *uvm, u32 command)
{
	uvm->mmio.seq++;
	uvm_win_set32(uvm->vdev, UVM_WIN_OFF_CMD,
		      command | (u32)uvm->mmio.seq << UVM_WIN_CMD_SEQ_SHIFT);
}

/**
 * uvm_rreg() - read a register
 * @uvm: the device
 * @index: dword index
 *
 * Context: may sleep; takes tens of microseconds.
 * Return: the register; 0 for one that does not exist.
 */
u32 uvm_rreg(struct uvm_device *uvm, u32 index)
{
	u32 value;

	mutex_lock(&uvm->mmio.lock);
	uvm_win_command(uvm, index & UVM_WIN_CMD_INDEX);
	value = uvm_win_get32(uvm->vdev, UVM_WIN_OFF_DATA);
	/* All ones is what a bus gives where nobody answers. */
	if (unlikely(value == U32_MAX) && !uvm_is_lost(uvm) &&
	    uvm_win_get32(uvm->vdev, UVM_WIN_OFF_MAGIC) == U32_MAX)
		uvm_lost(uvm, "registers read all ones");
	mutex_unlock(&uvm->mmio.lock);
	return value;
}

/**
 * uvm_wreg() - write a register
 * @uvm: the device
 * @index: dword index
 * @value: what
 *
 * The write has taken effect when this returns: the front end passes each
 * access on before the guest goes on.
 *
 * Context: may sleep; takes tens of microseconds.
 */
void uvm_wreg(struct uvm_device *uvm, u32 index, u32 value)
{
	mutex_lock(&uvm->mmio.lock);
	uvm_win_set32(uvm->vdev, UVM_WIN_OFF_DATA, value);
	uvm_win_command(uvm, (index & UVM_WIN_CMD_INDEX) | UVM_WIN_CMD_WRITE);
	mutex_unlock(&uvm->mmio.lock);
}

/* Takes back the messages that the device has read. */
static void uvm_doorbell_reclaim(struct uvm_mmio *mmio)
{
	struct uvm_doorbell_msg *msg;
	unsigned int len;

	lockdep_assert_held(&mmio->doorbell_lock);
	while ((msg = virtqueue_get_buf(mmio->doorbell_vq, &len)))
		mmio->free[mmio->nr_free++] = msg - mmio->msgs;
}

/*
 * Takes the lock with a message free. A full queue is waited for, and not
 * overtaken by a register write: the device would see the older values last.
 */
static bool uvm_doorbell_lock(struct uvm_mmio *mmio, unsigned long *flags)
{
	unsigned long end = jiffies + UVM_DOORBELL_TIMEOUT;
	bool full = false;

	for (;;) {
		spin_lock_irqsave(&mmio->doorbell_lock, *flags);
		uvm_doorbell_reclaim(mmio);
		if (mmio->nr_free)
			return true;
		mmio->doorbells_full += !full;
		spin_unlock_irqrestore(&mmio->doorbell_lock, *flags);
		if (time_after(jiffies, end))
			return false;
		full = true;
		usleep_range(20, 100);
	}
}

/**
 * uvm_doorbell() - ring a doorbell
 * @uvm: the device
 * @slot: which
 * @value: what is written to it
 *
 * Memory written before is seen by the device first. Doorbells take effect in
 * the order in which they were rung, but some time later.
 *
 * Context: may sleep; allocates nothing.
 * Return: false if the queue does not move or is broken.
 */
bool uvm_doorbell(struct uvm_device *uvm, u32 slot, u64 value)
{
	struct uvm_mmio *mmio = &uvm->mmio;
	struct uvm_doorbell_msg *msg;
	struct scatterlist sg;
	unsigned long flags;
	bool notify;
	int ret;

	if (!uvm_doorbell_lock(mmio, &flags))
		return false;
	msg = &mmio->msgs[mmio->free[--mmio->nr_free]];
	msg->slot = cpu_to_le32(slot);
	msg->value = cpu_to_le64(value);
	sg_init_one(&sg, msg, sizeof(*msg));
	ret = virtqueue_add_outbuf(mmio->doorbell_vq, &sg, 1, msg, GFP_ATOMIC);
	if (ret) {
		mmio->nr_free++;
		spin_unlock_irqrestore(&mmio->doorbell_lock, flags);
		return false;
	}
	mmio->doorbells++;
	notify = virtqueue_kick_prepare(mmio->doorbell_vq);
	spin_unlock_irqrestore(&mmio->doorbell_lock, flags);

	/* The exit to the front end is slow: not under the lock. */
	return !notify || virtqueue_notify(mmio->doorbell_vq);
}

static int uvm_event_post(struct uvm_mmio *mmio, struct uvm_event_msg *event)
{
	struct scatterlist sg;

	sg_init_one(&sg, event, sizeof(*event));
	return virtqueue_add_inbuf(mmio->event_vq, &sg, 1, event, GFP_ATOMIC);
}

/**
 * uvm_mmio_repost_events() - acknowledge the interrupts that came
 * @uvm: the device
 *
 * What happened stands in the interrupt rings.
 * Context: the interrupt worker alone.
 *
 * Return: which rings moved, a bit each.
 */
u32 uvm_mmio_repost_events(struct uvm_device *uvm)
{
	struct uvm_mmio *mmio = &uvm->mmio;
	struct uvm_event_msg *event;
	bool posted = false;
	u32 ring, rings = 0;
	unsigned int len;

	do {
		virtqueue_disable_cb(mmio->event_vq);
		while ((event = virtqueue_get_buf(mmio->event_vq, &len))) {
			ring = le32_to_cpu(event->ring);
			if (ring < BITS_PER_TYPE(rings))
				rings |= BIT(ring);
			if (uvm_event_post(mmio, event))
				break;
			posted = true;
		}
	} while (!virtqueue_enable_cb(mmio->event_vq));
	if (posted)
		virtqueue_kick(mmio->event_vq);
	return rings;
}

static void uvm_event_interrupt(struct virtqueue *vq)
{
	struct uvm_device *uvm = vq->vdev->priv;

	virtqueue_disable_cb(vq);
	uvm_ih_kick(uvm);
}

/**
 * uvm_mmio_init() - set up the window and the queues
 * @uvm: the device, not started yet
 *
 * Return: 0 or an errno.
 */
int uvm_mmio_init(struct uvm_device *uvm)
{
	struct uvm_mmio *mmio = &uvm->mmio;
	struct virtqueue_info infos[UVM_WIN_QUEUES] = {
		[UVM_WIN_DOORBELL_QUEUE] = { "doorbells", NULL },
		[UVM_WIN_EVENT_QUEUE] = { "events", uvm_event_interrupt },
	};
	struct virtqueue *vqs[UVM_WIN_QUEUES];
	unsigned int i;
	int ret;

	/* Whoever drove the device before us left a number behind. */
	mmio->seq = uvm_win_get32(uvm->vdev, UVM_WIN_OFF_CMD) >>
		    UVM_WIN_CMD_SEQ_SHIFT;

	ret = virtio_find_vqs(uvm->vdev, UVM_WIN_QUEUES, vqs, infos, NULL);
	if (ret)
		return ret;
	mmio->doorbell_vq = vqs[UVM_WIN_DOORBELL_QUEUE];
	mmio->event_vq = vqs[UVM_WIN_EVENT_QUEUE];
	virtqueue_disable_cb(mmio->doorbell_vq);

	mmio->nr_msgs = min(virtqueue_get_vring_size(mmio->doorbell_vq),
			    UVM_MAX_MSGS);
	mmio->nr_events = min(virtqueue_get_vring_size(mmio->event_vq),
			      UVM_MAX_EVENTS);
	mmio->msgs = kcalloc(mmio->nr_msgs, sizeof(*mmio->msgs), GFP_KERNEL);
	mmio->free = kcalloc(mmio->nr_msgs, sizeof(*mmio->free), GFP_KERNEL);
	mmio->events = kcalloc(mmio->nr_events, sizeof(*mmio->events),
			       GFP_KERNEL);
	if (!mmio->msgs || !mmio->free || !mmio->events) {
		uvm_mmio_fini(uvm);
		return -ENOMEM;
	}
	for (i = 0; i < mmio->nr_msgs; i++)
		mmio->free[i] = i;
	mmio->nr_free = mmio->nr_msgs;
	return 0;
}

/**
 * uvm_mmio_start_events() - give the device its event buffers
 * @uvm: the device, started
 *
 * Return: 0 or an errno.
 */
int uvm_mmio_start_events(struct uvm_device *uvm)
{
	struct uvm_mmio *mmio = &uvm->mmio;
	unsigned int i;
	int ret;

	for (i = 0; i < mmio->nr_events; i++) {
		ret = uvm_event_post(mmio, &mmio->events[i]);
		if (ret)
			return ret;
	}
	virtqueue_kick(mmio->event_vq);
	return 0;
}

/**
 * uvm_mmio_fini() - give up the queues
 * @uvm: the device, reset if it was started
 */
void uvm_mmio_fini(struct uvm_device *uvm)
{
	struct uvm_mmio *mmio = &uvm->mmio;

	uvm->vdev->config->del_vqs(uvm->vdev);
	kfree(mmio->events);
	kfree(mmio->free);
	kfree(mmio->msgs);
	mmio->events = NULL;
	mmio->free = NULL;
	mmio->msgs = NULL;
}
