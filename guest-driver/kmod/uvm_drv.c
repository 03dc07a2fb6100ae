// SPDX-License-Identifier: GPL-2.0
/*
 * Driver of the uvm device: a GPU's memory system without the GPU, reached as
 * a virtio device. This file binds it, brings its blocks up and down in order,
 * and registers it with DRM.
 */

#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>

#include <drm/drm_ioctl.h>
#include <drm/drm_managed.h>
#include <drm/drm_print.h>

#include "uvm_dmirror.h"
#include "uvm_drv.h"

#define UVM_DRIVER_MAJOR	1
#define UVM_DRIVER_MINOR	0

/* Submissions of the largest size that can be queued at once: 32. */
#define UVM_IB_POOL_BYTES	SZ_2M
#define UVM_IB_POOL_ALIGN	32

uint uvm_gart_mb = 256;
module_param_named(gart_mb, uvm_gart_mb, uint, 0444);
MODULE_PARM_DESC(gart_mb, "Size of the GART window in MiB (16 to 16384, default 256)");

uint uvm_timeout_ms = 3000;
module_param_named(timeout_ms, uvm_timeout_ms, uint, 0444);
MODULE_PARM_DESC(timeout_ms, "Milliseconds after which a job counts as hung (default 3000)");

/* In all segments of a domain, the driver's own ones included. */
static u64 uvm_bytes_used(struct uvm_device *uvm, u32 domain)
{
	const struct uvm_mm_config *config = &uvm->mm.config;
	struct uvm_policy_stats stats;
	unsigned int flags;
	bool local;
	u64 sum = 0;
	u32 i;

	flags = uvm_policy_begin(uvm);
	for (i = 0; i < config->count; i++) {
		local = config->segments[i].kind == UVM_MM_SEG_LOCAL ||
			config->segments[i].kind == UVM_MM_SEG_LOCAL_INVISIBLE ||
			config->segments[i].kind == UVM_MM_SEG_OWN_LOCAL;
		if (local == (domain == UVM_DOMAIN_VRAM) &&
		    !uvm_mm_segment_stats(uvm->policy, i, &stats))
			sum += stats.used;
	}
	uvm_policy_end(uvm, flags);
	return sum;
}

/* What the device counts itself, by UVM_PARAM_DEVICE_*. */
static const u32 uvm_device_counters[] = {
	[UVM_PARAM_DEVICE_PACKETS] = UVM_WIN_OFF_PACKETS,
	[UVM_PARAM_DEVICE_BYTES] = UVM_WIN_OFF_BYTES,
	[UVM_PARAM_DEVICE_INTERRUPTS] = UVM_WIN_OFF_INTERRUPTS,
	[UVM_PARAM_DEVICE_FAULTS] = UVM_WIN_OFF_FAULTS,
	[UVM_PARAM_DEVICE_WALKS] = UVM_WIN_OFF_WALKS,
	[UVM_PARAM_DEVICE_TLB_HITS] = UVM_WIN_OFF_TLB_HITS,
};

static int uvm_device_counter(struct uvm_device *uvm, u32 param, u64 *value)
{
	int idx;

	if (param >= ARRAY_SIZE(uvm_device_counters) ||
	    !uvm_device_counters[param])
		return -EINVAL;
	if (!drm_dev_enter(&uvm->drm, &idx))
		return -ENODEV;
	*value = uvm_win_counter(uvm, uvm_device_counters[param]);
	drm_dev_exit(idx);
	return 0;
}

static int uvm_ioctl_get_param(struct drm_device *drm, void *data,
			       struct drm_file *file)
{
	struct uvm_device *uvm = to_uvm(drm);
	struct drm_uvm_get_param *args = data;
	u64 sum = 0;
	u32 i;

	if (args->pad)
		return -EINVAL;
	switch (args->param) {
	case UVM_PARAM_DEVICE_VERSION:
		args->value = uvm->version;
		break;
	case UVM_PARAM_CAPABILITIES:
		args->value = uvm->caps;
		break;
	case UVM_PARAM_VRAM_SIZE:
		args->value = uvm->vram.size;
		break;
	case UVM_PARAM_VRAM_VISIBLE:
		args->value = uvm->vram.visible;
		break;
	case UVM_PARAM_VRAM_USED:
		args->value = uvm_bytes_used(uvm, UVM_DOMAIN_VRAM);
		break;
	case UVM_PARAM_GTT_SIZE:
		args->value = uvm->gart.size;
		break;
	case UVM_PARAM_GTT_USED:
		args->value = uvm_bytes_used(uvm, UVM_DOMAIN_GTT);
		break;
	case UVM_PARAM_RINGS:
		args->value = uvm->nr_rings;
		break;
	case UVM_PARAM_LEVELS:
		args->value = uvm->levels;
		break;
	case UVM_PARAM_INTERRUPTS:
		args->value = atomic64_read(&uvm->ih.vectors);
		break;
	case UVM_PARAM_FENCES:
		for (i = 0; i < uvm->nr_rings; i++)
			sum += atomic64_read(&uvm->rings[i].signalled);
		args->value = sum;
		break;
	case UVM_PARAM_FAULTS:
		args->value = atomic64_read(&uvm->ih.faults);
		break;
	case UVM_PARAM_GART_START:
		args->value = UVM_GART_START;
		break;
	case UVM_PARAM_FB_START:
		args->value = UVM_FB_START;
		break;
	case UVM_PARAM_TIMEOUTS:
		for (i = 0; i < uvm->nr_rings; i++)
			sum += atomic64_read(&uvm->rings[i].timeouts);
		args->value = sum;
		break;
	case UVM_PARAM_VM_SIZE:
		args->value = uvm_vm_size(uvm);
		break;
	case UVM_PARAM_RETRY_FAULTS:
		args->value = atomic64_read(&uvm->retry.faults);
		break;
	case UVM_PARAM_RETRY_ANSWERS:
		args->value = atomic64_read(&uvm->retry.answers);
		break;
	case UVM_PARAM_RETRY_OVERFLOWS:
		args->value = atomic64_read(&uvm->retry.overflows);
		break;
	case UVM_PARAM_FREE_QUEUES:
		args->value = uvm_queues_free(uvm, false);
		break;
	case UVM_PARAM_FREE_ACCESS_QUEUES:
		args->value = uvm_queues_free(uvm, true);
		break;
	case UVM_PARAM_ACCESS_NOTIFICATIONS:
		args->value = atomic64_read(&uvm->access.notified);
		break;
	case UVM_PARAM_MM_EVICTED ... UVM_PARAM_MM_PAGES:
		args->value = uvm_mm_param(uvm, args->param);
		break;
	case UVM_PARAM_SVM_FAULTS ... UVM_PARAM_SVM_BLOCKS:
		args->value = uvm_svm_param(uvm, args->param);
		break;
	case UVM_PARAM_SVM_EXCLUSIVE ... UVM_PARAM_SVM_LARGEST_BATCH:
		args->value = uvm_svm_exclusive_param(uvm, args->param);
		break;
	case UVM_PARAM_DEVMEM_USED ... UVM_PARAM_DEVMEM_BY_CPU:
		args->value = uvm_devmem_param(uvm, args->param);
		break;
	case UVM_PARAM_VRAM_ERRORS:
		args->value = atomic64_read(&uvm->ecc.errors);
		break;
	case UVM_PARAM_BYTES_MOVED:
		args->value = atomic64_read(&uvm->bytes_moved);
		break;
	default:
		return uvm_device_counter(uvm, args->param, &args->value);
	}
	return 0;
}

static int uvm_ioctl_reg(struct drm_device *drm, void *data,
			 struct drm_file *file)
{
	struct uvm_device *uvm = to_uvm(drm);
	struct drm_uvm_reg *args = data;
	int idx;

	if (!capable(CAP_SYS_RAWIO))
		return -EPERM;
	if (args->pad || args->write > 1 || args->index >= UVM_MMIO_DWORDS)
		return -EINVAL;
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	if (args->write)
		uvm_wreg(uvm, args->index, args->value);
	else
		args->value = uvm_rreg(uvm, args->index);
	drm_dev_exit(idx);
	return 0;
}

static const struct drm_ioctl_desc uvm_ioctls[] = {
	DRM_IOCTL_DEF_DRV(UVM_GET_PARAM, uvm_ioctl_get_param, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_GEM_CREATE, uvm_ioctl_gem_create,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_GEM_MMAP, uvm_ioctl_gem_mmap, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_GEM_INFO, uvm_ioctl_gem_info, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_GEM_MOVE, uvm_ioctl_gem_move, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_GEM_WAIT, uvm_ioctl_gem_wait, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_SUBMIT, uvm_ioctl_submit, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_REG, uvm_ioctl_reg, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_VM_BIND, uvm_ioctl_vm_bind, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_FAULT_QUERY, uvm_ioctl_fault_query,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_QUEUE_CREATE, uvm_ioctl_queue_create,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_QUEUE_DESTROY, uvm_ioctl_queue_destroy,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_QUEUE_KICK, uvm_ioctl_queue_kick,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_QUEUE_INFO, uvm_ioctl_queue_info,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_VM_CONFIG, uvm_ioctl_vm_config,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_FAULT_NEXT, uvm_ioctl_fault_next,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_HANG_QUERY, uvm_ioctl_hang_query,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_GEM_ADVISE, uvm_ioctl_gem_advise,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_GEM_ACCESS, uvm_ioctl_gem_access,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_SVM_CONFIG, uvm_ioctl_svm_config,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_SVM_PREFETCH, uvm_ioctl_svm_prefetch,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_SVM_RESIDENCY, uvm_ioctl_svm_residency,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_SVM_ADVISE, uvm_ioctl_svm_advise,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_SVM_ATTRIBUTES, uvm_ioctl_svm_attributes,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(UVM_SVM_EVENTS, uvm_ioctl_svm_events,
			  DRM_RENDER_ALLOW),
};

static int uvm_open(struct drm_device *drm, struct drm_file *file)
{
	struct uvm_device *uvm = to_uvm(drm);
	struct drm_gpu_scheduler *sched;
	struct uvm_file *ufile;
	u32 i;
	int ret;

	ufile = kzalloc(sizeof(*ufile), GFP_KERNEL);
	if (!ufile)
		return -ENOMEM;
	ufile->busy = uvm_busy_alloc();
	if (!ufile->busy) {
		kfree(ufile);
		return -ENOMEM;
	}
	ufile->client = uvm_mm_client_new(uvm, true);
	if (IS_ERR(ufile->client)) {
		ret = PTR_ERR(ufile->client);
		uvm_busy_put(ufile->busy);
		kfree(ufile);
		return ret;
	}
	mutex_init(&ufile->submit_lock);
	for (i = 0; i < uvm->nr_rings; i++) {
		sched = &uvm->rings[i].sched;
		ret = drm_sched_entity_init(&ufile->entities[i],
					    DRM_SCHED_PRIORITY_NORMAL, &sched,
					    1, NULL);
		if (ret)
			goto destroy;
	}
	file->driver_priv = ufile;
	return 0;

destroy:
	while (i--)
		drm_sched_entity_destroy(&ufile->entities[i]);
	uvm_mm_client_put(ufile->client);
	uvm_busy_put(ufile->busy);
	mutex_destroy(&ufile->submit_lock);
	kfree(ufile);
	return ret;
}

static void uvm_postclose(struct drm_device *drm, struct drm_file *file)
{
	struct uvm_device *uvm = to_uvm(drm);
	struct uvm_file *ufile = file->driver_priv;
	u32 i;

	uvm_queues_close(uvm, ufile->vm);
	uvm_restore_stop(ufile->vm);
	for (i = 0; i < uvm->nr_rings; i++)
		drm_sched_entity_destroy(&ufile->entities[i]);
	/* What still runs has references of its own. */
	uvm_vm_put(ufile->vm);
	uvm_mm_client_put(ufile->client);
	uvm_busy_put(ufile->busy);
	mutex_destroy(&ufile->submit_lock);
	kfree(ufile);
}

static const struct file_operations uvm_fops = {
	.owner = THIS_MODULE,
	DRM_GEM_FOPS,
	.poll = uvm_svm_poll,
	.show_fdinfo = drm_show_fdinfo,
};

static const struct drm_driver uvm_drm_driver = {
	.driver_features = DRIVER_GEM | DRIVER_RENDER | DRIVER_SYNCOBJ,
	.open = uvm_open,
	.postclose = uvm_postclose,
	.show_fdinfo = uvm_show_fdinfo,
	.gem_prime_import = uvm_prime_import,
	.gem_prime_import_sg_table = uvm_prime_import_table,
	.ioctls = uvm_ioctls,
	.num_ioctls = ARRAY_SIZE(uvm_ioctls),
	.fops = &uvm_fops,
	.name = "uvm",
	.desc = "GPU memory system without the GPU",
	.major = UVM_DRIVER_MAJOR,
	.minor = UVM_DRIVER_MINOR,
};

/* The last user of the device is gone, which may be long after the device. */
static void uvm_release(struct drm_device *drm, void *unused)
{
	struct uvm_device *uvm = to_uvm(drm);
	u32 i;

	for (i = 0; i < UVM_MAX_RINGS; i++)
		uvm_sched_fini(&uvm->rings[i]);
	uvm_svm_dev_fini(uvm);
	uvm_vms_fini(uvm);
	uvm_svm_policy_fini(uvm);
	uvm_mm_dev_fini(uvm);
	/* Nobody looks at the write-back pages through a fence any more. */
	synchronize_rcu();
	drm_suballoc_manager_fini(&uvm->ib_pool);
	uvm_kbuf_free(uvm, &uvm->ib_buf);
	uvm_devmem_dev_fini(uvm);
	uvm_peek_fini(uvm);
	for (i = 0; i < UVM_MAX_RINGS; i++)
		uvm_ring_fini(&uvm->rings[i]);
	uvm_policy_fini(uvm);
	xa_destroy(&uvm->vms.by_pasid);
	mutex_destroy(&uvm->queues.lock);
	mutex_destroy(&uvm->policy_lock);
	mutex_destroy(&uvm->gart.lock);
	mutex_destroy(&uvm->mmio.lock);
}

static void uvm_init_locks(struct uvm_device *uvm)
{
	struct uvm_ring *ring;
	u32 i;

	mutex_init(&uvm->mmio.lock);
	init_rwsem(&uvm->suspend.lock);
	uvm_peek_init(uvm);
	spin_lock_init(&uvm->mmio.doorbell_lock);
	mutex_init(&uvm->gart.lock);
	mutex_init(&uvm->policy_lock);
	spin_lock_init(&uvm->vms.list_lock);
	xa_init(&uvm->vms.by_pasid);
	spin_lock_init(&uvm->retry.lock);
	init_waitqueue_head(&uvm->retry.wait);
	init_completion(&uvm->svm.halted);
	mutex_init(&uvm->svm.policy_lock);
	init_waitqueue_head(&uvm->svm.events);
	spin_lock_init(&uvm->svm.mirrors_lock);
	INIT_LIST_HEAD(&uvm->svm.mirrors);
	mutex_init(&uvm->svm.leave_lock);
	mutex_init(&uvm->svm.count_lock);
	uvm_queues_init(uvm);
	uvm_devmem_dev_prepare(uvm);
	uvm->vms.poke_context = dma_fence_context_alloc(1);
	for (i = 0; i < UVM_MAX_RINGS; i++) {
		ring = &uvm->rings[i];
		ring->uvm = uvm;
		ring->index = i;
		snprintf(ring->name, sizeof(ring->name), "sdma%u", i);
		mutex_init(&ring->lock);
		mutex_init(&ring->move_lock);
		spin_lock_init(&ring->fence_lock);
		INIT_LIST_HEAD(&ring->fences);
	}
}

/* Is this our device, or another experiment under the same virtio id? */
static int uvm_identify(struct virtio_device *vdev)
{
	u32 magic, version;

	if (!virtio_has_feature(vdev, VIRTIO_F_VERSION_1)) {
		dev_err(&vdev->dev, "not a virtio 1.0 device\n");
		return -ENODEV;
	}
	magic = uvm_win_get32(vdev, UVM_WIN_OFF_MAGIC);
	if (magic != UVM_WIN_MAGIC) {
		dev_err(&vdev->dev, "not a uvm device: magic %#x, expected %#x\n",
			magic, UVM_WIN_MAGIC);
		return -ENODEV;
	}
	version = uvm_win_get32(vdev, UVM_WIN_OFF_VERSION);
	if (version != UVM_WIN_VERSION) {
		dev_err(&vdev->dev, "window version %u, this driver knows %u\n",
			version, UVM_WIN_VERSION);
		return -ENODEV;
	}
	return 0;
}

/* Doorbells, memory for indirect buffers, and the rings. */
static int uvm_engines_init(struct uvm_device *uvm)
{
	int ret;
	u32 i;

	uvm_wreg(uvm, mmRCC_DOORBELL_APER_EN,
		 RCC_DOORBELL_APER_EN__BIF_DOORBELL_APER_EN);
	ret = uvm_kbuf_alloc(uvm, &uvm->ib_buf, UVM_IB_POOL_BYTES);
	if (ret)
		return ret;
	drm_suballoc_manager_init(&uvm->ib_pool, UVM_IB_POOL_BYTES,
				  UVM_IB_POOL_ALIGN);
	for (i = 0; i < uvm->nr_rings; i++) {
		ret = uvm_ring_init(uvm, i);
		if (ret)
			return ret;
	}
	for (i = 0; i < uvm->nr_rings; i++) {
		ret = uvm_ring_start(&uvm->rings[i]);
		if (!ret)
			ret = uvm_ring_test(&uvm->rings[i]);
		if (!ret)
			ret = uvm_ib_test(&uvm->rings[i]);
		if (!ret)
			ret = uvm_sched_init(&uvm->rings[i]);
		if (ret)
			return ret;
	}
	uvm_access_start(uvm);
	return uvm_devmem_dev_init(uvm);
}

/* Stops what runs; what has users stays until uvm_release(). */
static void uvm_stop(struct uvm_device *uvm)
{
	u32 i;

	uvm_devmem_dev_stop(uvm);
	for (i = 0; i < uvm->nr_rings; i++)
		if (uvm->rings[i].started)
			uvm_ring_stop(&uvm->rings[i]);
	uvm_access_stop(uvm);
	complete_all(&uvm->svm.halted);
	uvm_ih_stop(uvm);
	uvm_retry_stop(uvm);
	uvm_gmc_stop(uvm);
	uvm_wreg(uvm, mmRCC_DOORBELL_APER_EN, 0);
	/* From here on the device touches no memory and sends no event. */
	virtio_reset_device(uvm->vdev);
	cancel_work_sync(&uvm->ih.work);
	uvm_ecc_fini(uvm);
	destroy_workqueue(uvm->ih.wq);
	uvm_ih_fini(uvm);
	uvm_retry_fini(uvm);
	uvm_gmc_fini(uvm);
	uvm_mmio_fini(uvm);
}

static int uvm_bring_up(struct uvm_device *uvm)
{
	int ret;

	ret = uvm_vram_init(uvm);
	if (ret)
		return ret;
	uvm->gart.size = clamp((u64)uvm_gart_mb * SZ_1M, (u64)SZ_16M,
			       UVM_GART_MAX);
	ret = uvm_policy_init(uvm);
	if (ret)
		return ret;
	ret = uvm_gmc_init(uvm);
	if (ret)
		return ret;
	ret = uvm_vms_init(uvm);
	if (ret)
		return ret;
	ret = uvm_svm_dev_init(uvm);
	if (ret)
		return ret;
	ret = uvm_mmio_start_events(uvm);
	if (ret)
		return ret;
	ret = uvm_ih_init(uvm);
	if (ret)
		return ret;
	ret = uvm_retry_init(uvm);
	if (ret)
		return ret;
	ret = uvm_engines_init(uvm);
	if (ret)
		return ret;
	return uvm_mm_dev_init(uvm);
}

static int uvm_probe(struct virtio_device *vdev)
{
	struct uvm_device *uvm;
	int ret;

	ret = uvm_identify(vdev);
	if (ret)
		return ret;
	uvm = devm_drm_dev_alloc(&vdev->dev, &uvm_drm_driver,
				 struct uvm_device, drm);
	if (IS_ERR(uvm))
		return PTR_ERR(uvm);
	uvm->vdev = vdev;
	/* What is shared with others is mapped for the device that does DMA. */
	drm_dev_set_dma_dev(&uvm->drm, vdev->dev.parent);
	vdev->priv = uvm;
	uvm->version = uvm_win_get32(vdev, UVM_WIN_OFF_VERSION);
	uvm->caps = uvm_win_get64(vdev, UVM_WIN_OFF_CAPS);
	uvm->levels = uvm_win_get32(vdev, UVM_WIN_OFF_LEVELS);
	uvm->nr_rings = min(uvm_win_get32(vdev, UVM_WIN_OFF_SDMA_INSTANCES),
			    UVM_MAX_RINGS);
	uvm_init_locks(uvm);
	ret = drmm_add_action_or_reset(&uvm->drm, uvm_release, NULL);
	if (ret)
		return ret;

	INIT_WORK(&uvm->ih.work, uvm_ih_work);
	uvm_ecc_init(uvm);
	uvm_lost_init(uvm);
	uvm->ih.wq = alloc_ordered_workqueue("uvm-ih", WQ_HIGHPRI |
					     WQ_MEM_RECLAIM);
	if (!uvm->ih.wq)
		return -ENOMEM;
	ret = uvm_mmio_init(uvm);
	if (ret) {
		destroy_workqueue(uvm->ih.wq);
		return ret;
	}
	virtio_device_ready(vdev);
	ret = uvm_bring_up(uvm);
	if (ret)
		goto stop;
	uvm_debugfs_init(uvm);
	ret = drm_dev_register(&uvm->drm, 0);
	if (ret)
		goto stop;
	uvm_suspend_init(uvm);
	ret = uvm_dmirror_init(uvm);
	if (ret)
		dev_err(&vdev->dev, "no hmm_dmirror devices: %d\n", ret);

	dev_info(&vdev->dev, "MMIO base: config space window of %u bytes (%u KiB of registers), VRAM base %pa size %llu MiB%s, GART %llu MiB%s, %u levels, %u SDMA\n",
		 256, UVM_MMIO_DWORDS / 256, &uvm->vram.base,
		 uvm->vram.size >> 20, uvm_has_uma(uvm) ? " (UMA)" : "",
		 uvm->gart.size >> 20, uvm_has_vidmm(uvm) ? " (vidmm)" : "",
		 uvm->levels, uvm->nr_rings);
	return 0;

stop:
	dev_err(&vdev->dev, "bring-up failed: %d\n", ret);
	uvm_stop(uvm);
	return ret;
}

static void uvm_remove(struct virtio_device *vdev)
{
	struct uvm_device *uvm = vdev->priv;

	uvm_suspend_fini(uvm);
	/* While it can still be copied. */
	uvm_dmirror_fini(uvm);
	uvm_devmem_dev_close(uvm);
	/* No ioctl, fault or job is on its way in when this returns. */
	uvm_lost_fini(uvm);
	uvm_stop(uvm);
	uvm_vms_kick(uvm);
}

static const struct virtio_device_id uvm_id_table[] = {
	{ UVM_WIN_VIRTIO_ID, VIRTIO_DEV_ANY_ID },
	{ }
};
MODULE_DEVICE_TABLE(virtio, uvm_id_table);

static struct virtio_driver uvm_virtio_driver = {
	.driver.name = "uvm",
	.id_table = uvm_id_table,
	.probe = uvm_probe,
	.remove = uvm_remove,
	.freeze = uvm_freeze,
};
module_virtio_driver(uvm_virtio_driver);

MODULE_DESCRIPTION("Driver of a GPU memory system without the GPU");
MODULE_LICENSE("GPL");
