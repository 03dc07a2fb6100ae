// SPDX-License-Identifier: GPL-2.0
/*
 * The memory manager of all buffers: what happens is told to the policy, what it
 * decides is carried out by workers (uvm_mm_do.c), and who waits for a buffer's
 * place is woken.
 *
 * A use holds buffers where they are, from when it is ready until its end. A
 * submission has one for all that it may reach, by its address space or by name,
 * until its job has ended; so nothing moves under a job. Nobody waits for a use
 * with a reservation lock held: the workers take these.
 */

#include <linux/delay.h>
#include <linux/shrinker.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include <drm/drm_prime.h>
#include <drm/drm_print.h>

#include "uvm_drv.h"

/* What processes' own memory makes way for at a time, and how often. */
#define UVM_MM_ROOM		SZ_16M
#define UVM_MM_ROOM_TRIES	64
/* How soon what failed and must not is tried again. */
#define UVM_MM_TICK_MS		50
/* How often, and how long, the end waits for what is still to be given back. */
#define UVM_MM_FINI_TRIES	1000

static char *uvm_evict = "lru";
module_param_named(evict, uvm_evict, charp, 0444);
MODULE_PARM_DESC(evict, "Who leaves a full segment first: lru, clock or 2q (default lru)");

static void uvm_mm_kick(struct uvm_device *uvm)
{
	u32 i;

	for (i = 0; i < UVM_MM_WORKERS; i++)
		queue_work(uvm->mm.wq, &uvm->mm.workers[i].work);
}

/**
 * uvm_mm_tell() - tell the policy what happened
 * @uvm: the device
 * @event: what
 * @reply: out: the answer
 * @use: takes a ticket, before anything can come of it; or NULL
 *
 * Return: as uvm_mm_event().
 */
int uvm_mm_tell(struct uvm_device *uvm, const struct uvm_mm_event *event,
		struct uvm_mm_reply *reply, struct uvm_mm_use *use)
{
	struct uvm_mm_log *log;
	unsigned int flags;
	int ret;

	flags = uvm_policy_begin(uvm);
	log = uvm_record_log(uvm, event->nr_bos);
	ret = uvm_mm_event(uvm->policy, event, reply, log);
	uvm_record_done(uvm, log);
	if (!ret && use && reply->kind == UVM_MM_REPLY_ID) {
		use->ticket = reply->id;
		list_add_tail(&use->node, &uvm->mm.uses);
	}
	uvm_policy_end(uvm, flags);
	uvm_mm_kick(uvm);
	return ret;
}

/**
 * uvm_mm_tell_of() - tell the policy what happened to something
 * @uvm: the device
 * @op: UVM_MM_EV_*
 * @id: of a buffer or a ticket
 *
 * Return: as uvm_mm_event().
 */
int uvm_mm_tell_of(struct uvm_device *uvm, u32 op, u64 id)
{
	const struct uvm_mm_event event = { .op = op, .id = id };
	struct uvm_mm_reply reply;

	return uvm_mm_tell(uvm, &event, &reply, NULL);
}

/* A ticket waits no more; under the policy's lock. */
static void uvm_mm_answer(struct uvm_device *uvm,
			  const struct uvm_mm_action *action)
{
	struct uvm_mm_use *use;

	list_for_each_entry(use, &uvm->mm.uses, node) {
		if (use->ticket != action->bo)
			continue;
		list_del_init(&use->node);
		use->error = action->op == UVM_MM_DO_REFUSED ? action->error : 0;
		complete(&use->done);
		return;
	}
}

/* What was bound is not reached any more. */
static void uvm_mm_forget(struct uvm_device *uvm)
{
	int idx;

	if (!drm_dev_enter(&uvm->drm, &idx))
		return;
	/* A device that does not answer is lost, and halted. */
	uvm_gart_forget(uvm);
	drm_dev_exit(idx);
}

/* The policy has forgotten a buffer, and so does everybody. */
static void uvm_mm_bury(struct uvm_device *uvm, u64 id)
{
	struct uvm_bo *bo = uvm_mm_bo_get(uvm, id);

	if (WARN_ON_ONCE(!bo))
		return;
	spin_lock(&uvm->mm.lock);
	hash_del(&bo->mm.node);
	spin_unlock(&uvm->mm.lock);
	uvm_mm_forget(uvm);
	uvm_mm_free_pages(bo, 0, bo->base.size);
	uvm_mm_client_put(bo->mm.client);
	kvfree(bo->pages);
	/* Not before the device has forgotten its pages. */
	if (bo->sgt)
		drm_prime_gem_destroy(&bo->base, bo->sgt);
	drm_gem_object_release(&bo->base);
	kfree(bo);
}

static bool uvm_mm_next_action(struct uvm_device *uvm,
			       struct uvm_mm_action *action)
{
	unsigned int flags = uvm_policy_begin(uvm);
	struct uvm_mm_log *log = uvm_record_log(uvm, 0);
	int ret = uvm_mm_next(uvm->policy, action, log);

	uvm_record_done(uvm, log);
	if (ret > 0 && (action->op == UVM_MM_DO_READY ||
			action->op == UVM_MM_DO_REFUSED))
		uvm_mm_answer(uvm, action);
	uvm_policy_end(uvm, flags);
	return ret > 0;
}

/**
 * uvm_mm_done() - an action has ended
 * @uvm: the device
 * @action: the policy's name of it
 * @failure: 0 or UVM_MM_FAIL_*
 */
void uvm_mm_done(struct uvm_device *uvm, u64 action, u64 failure)
{
	const struct uvm_mm_event event = {
		.op = UVM_MM_EV_DONE,
		.id = action,
		.value = failure,
	};
	struct uvm_mm_reply reply;

	uvm_mm_tell(uvm, &event, &reply, NULL);
	if (failure)
		queue_delayed_work(uvm->mm.wq, &uvm->mm.tick,
				   msecs_to_jiffies(UVM_MM_TICK_MS));
	atomic_inc(&uvm->mm.nr_done);
	wake_up_all(&uvm->mm.ended);
}

static void uvm_mm_work(struct work_struct *work)
{
	struct uvm_mm_worker *worker =
		container_of(work, struct uvm_mm_worker, work);
	struct uvm_device *uvm = worker->uvm;
	struct uvm_mm_action action;
	u64 failure;

	while (uvm_mm_next_action(uvm, &action)) {
		if (action.op == UVM_MM_DO_GONE)
			uvm_mm_bury(uvm, action.bo);
		if (!action.id)
			continue;
		failure = uvm_mm_do(worker, &action);
		if (failure != UVM_MM_PENDING)
			uvm_mm_done(uvm, action.id, failure);
	}
}

static void uvm_mm_tick(struct work_struct *work)
{
	struct uvm_device *uvm = container_of(work, struct uvm_device,
					      mm.tick.work);

	uvm_mm_tell_of(uvm, UVM_MM_EV_TICK, 0);
}

/**
 * uvm_mm_use_alloc() - a use that nobody knows of
 * @uvm: the device
 *
 * Return: the use, to be kfree()d until a ticket is noted in it; or NULL.
 */
struct uvm_mm_use *uvm_mm_use_alloc(struct uvm_device *uvm)
{
	struct uvm_mm_use *use = kzalloc(sizeof(*use), GFP_KERNEL);

	if (!use)
		return NULL;
	use->uvm = uvm;
	INIT_LIST_HEAD(&use->node);
	init_completion(&use->done);
	return use;
}

/**
 * uvm_mm_use_wait() - wait until a use is ready
 * @use: with a ticket; freed unless this returns 0
 *
 * Context: no reservation lock is held.
 * Return: 0, -ENOSPC, -ENOMEM, -EIO, -ERESTARTSYS.
 */
int uvm_mm_use_wait(struct uvm_mm_use *use)
{
	struct uvm_device *uvm = use->uvm;
	unsigned int flags;
	int ret;

	ret = wait_for_completion_interruptible(&use->done);
	if (ret) {
		ret = uvm_mm_tell_of(uvm, UVM_MM_EV_CANCEL, use->ticket);
		flags = uvm_policy_begin(uvm);
		list_del_init(&use->node);
		uvm_policy_end(uvm, flags);
		/* It was ready, and is to end as such; or was refused. */
		if (ret == -EBUSY)
			uvm_mm_tell_of(uvm, UVM_MM_EV_FENCE, use->ticket);
		ret = -ERESTARTSYS;
	} else {
		ret = use->error;
	}
	if (ret)
		kfree(use);
	return ret;
}

static struct uvm_mm_use *uvm_mm_use_once(struct uvm_device *uvm,
					  const struct uvm_mm_event *event)
{
	struct uvm_mm_use *use = uvm_mm_use_alloc(uvm);
	struct uvm_mm_reply reply;
	int ret;

	if (!use)
		return ERR_PTR(-ENOMEM);
	ret = uvm_mm_tell(uvm, event, &reply, use);
	if (ret) {
		kfree(use);
		return ERR_PTR(ret);
	}
	ret = uvm_mm_use_wait(use);
	return ret ? ERR_PTR(ret) : use;
}

/**
 * uvm_mm_use_by() - a use that an event asks for
 * @uvm: the device
 * @event: one that is answered by a ticket
 *
 * Where VRAM is too full for it, processes' own memory makes way.
 *
 * Context: no reservation lock is held.
 * Return: the use, ready, for uvm_mm_use_end(); or an ERR_PTR.
 */
struct uvm_mm_use *uvm_mm_use_by(struct uvm_device *uvm,
				 const struct uvm_mm_event *event)
{
	struct uvm_mm_use *use = uvm_mm_use_once(uvm, event);
	u32 tries = UVM_MM_ROOM_TRIES;

	while (use == ERR_PTR(-ENOSPC) && tries-- &&
	       uvm_devmem_make_room(uvm, UVM_MM_ROOM, NULL))
		use = uvm_mm_use_once(uvm, event);
	return use;
}

/**
 * uvm_mm_use_set() - have buffers where the GPU reaches them, all at once
 * @client: for whom
 * @bos: the policy's names of buffers; some may be named twice
 * @nr: how many, not 0
 * @flags: UVM_MM_FLAG_ADDRESSED if none is reached by page tables
 *
 * Context: no reservation lock is held.
 * Return: the use, for uvm_mm_use_end(); or ERR_PTR of -ENOSPC when they do not
 * fit together, -ENOMEM, -EINVAL when one was given up by DRM_UVM_GEM_ADVISE,
 * -ERESTARTSYS.
 */
struct uvm_mm_use *uvm_mm_use_set(struct uvm_mm_client *client, const u64 *bos,
				  u32 nr, u32 flags)
{
	const struct uvm_mm_event event = {
		.op = UVM_MM_EV_SUBMIT,
		.flags = flags,
		.process = client->id,
		.bos = bos,
		.nr_bos = nr,
	};
	struct uvm_mm_use *use = uvm_mm_use_by(client->uvm, &event);

	if (!IS_ERR(use)) {
		kref_get(&client->ref);
		use->client = client;
	}
	return use;
}

/**
 * uvm_mm_use_end() - let buffers go
 * @use: ready; or NULL
 *
 * Context: may sleep; not on the way to signalling a fence.
 */
void uvm_mm_use_end(struct uvm_mm_use *use)
{
	if (!use)
		return;
	uvm_mm_tell_of(use->uvm, UVM_MM_EV_FENCE, use->ticket);
	uvm_mm_client_put(use->client);
	kfree(use);
}

static unsigned long uvm_mm_count(struct shrinker *shrinker,
				  struct shrink_control *sc)
{
	struct uvm_device *uvm = shrinker->private_data;

	return atomic_long_read(&uvm->mm.nr_pages) ?: SHRINK_EMPTY;
}

/* Whoever reclaims may have our locks, or be in the policy: it only asks. */
static unsigned long uvm_mm_scan(struct shrinker *shrinker,
				 struct shrink_control *sc)
{
	struct uvm_device *uvm = shrinker->private_data;
	const struct uvm_mm_event event = {
		.op = UVM_MM_EV_PRESSURE,
		.size = (u64)sc->nr_to_scan << PAGE_SHIFT,
	};
	struct uvm_mm_reply reply;
	struct uvm_mm_log *log;
	int ret;

	if (!mutex_trylock(&uvm->policy_lock))
		return SHRINK_STOP;
	log = uvm_record_log(uvm, 0);
	ret = uvm_mm_event(uvm->policy, &event, &reply, log);
	uvm_record_done(uvm, log);
	mutex_unlock(&uvm->policy_lock);
	uvm_mm_kick(uvm);
	return ret || !reply.value ? SHRINK_STOP : reply.value >> PAGE_SHIFT;
}

/**
 * uvm_mm_dev_init() - get ready to carry out what the policy decides
 * @uvm: the device, with its rings
 *
 * Return: 0 or an errno.
 */
int uvm_mm_dev_init(struct uvm_device *uvm)
{
	struct uvm_mm_dev *mm = &uvm->mm;
	u32 i;

	mm->wq = alloc_workqueue("uvm-mm", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!mm->wq)
		return -ENOMEM;
	spin_lock_init(&mm->lock);
	hash_init(mm->bos);
	INIT_LIST_HEAD(&mm->uses);
	init_waitqueue_head(&mm->ended);
	INIT_DELAYED_WORK(&mm->tick, uvm_mm_tick);
	for (i = 0; i < UVM_MM_WORKERS; i++) {
		mm->workers[i].uvm = uvm;
		mm->workers[i].index = i;
		INIT_WORK(&mm->workers[i].work, uvm_mm_work);
	}
	mm->shrinker = shrinker_alloc(0, "uvm-mm");
	if (!mm->shrinker) {
		destroy_workqueue(mm->wq);
		return -ENOMEM;
	}
	mm->shrinker->count_objects = uvm_mm_count;
	mm->shrinker->scan_objects = uvm_mm_scan;
	mm->shrinker->private_data = uvm;
	shrinker_register(mm->shrinker);
	mm->started = true;
	mm->imports = uvm_mm_client_new(uvm, false);
	if (IS_ERR(mm->imports)) {
		int ret = PTR_ERR(mm->imports);

		mm->imports = NULL;
		return ret;
	}
	return 0;
}

/**
 * uvm_mm_dev_fini() - wait for what is to be given back, and end
 * @uvm: the device; no file is open
 */
void uvm_mm_dev_fini(struct uvm_device *uvm)
{
	struct uvm_mm_dev *mm = &uvm->mm;
	u32 i, tries;

	if (!mm->started)
		return;
	shrinker_free(mm->shrinker);
	for (tries = 0; tries < UVM_MM_FINI_TRIES; tries++) {
		for (i = 0; i < UVM_MM_WORKERS; i++)
			flush_work(&mm->workers[i].work);
		if (hash_empty(mm->bos))
			break;
		if (tries)
			usleep_range(1000, 2000);
		uvm_mm_tell_of(uvm, UVM_MM_EV_TICK, 0);
	}
	if (!hash_empty(mm->bos))
		drm_err(&uvm->drm, "buffers are left behind\n");
	uvm_mm_client_put(mm->imports);
	cancel_delayed_work_sync(&mm->tick);
	destroy_workqueue(mm->wq);
	mm->started = false;
}

static const char * const uvm_mm_rules[] = {
	[UVM_MM_EVICT_LRU] = "lru",
	[UVM_MM_EVICT_CLOCK] = "clock",
	[UVM_MM_EVICT_2Q] = "2q",
};

/**
 * uvm_mm_dev_config() - how the memory manager is to work
 * @uvm: the device
 * @config: out: all but the segments
 */
void uvm_mm_dev_config(struct uvm_device *uvm, struct uvm_mm_config *config)
{
	int rule = match_string(uvm_mm_rules, ARRAY_SIZE(uvm_mm_rules),
				uvm_evict);

	if (rule < 0)
		drm_warn(&uvm->drm, "no rule of eviction is called %s\n",
			 uvm_evict);
	config->chunk = UVM_MM_CHUNK;
	config->evict = rule < 0 ? UVM_MM_EVICT_LRU : rule;
}
