"""What usually helps against each part of the loss, in a few words."""

from __future__ import annotations

from distbench.analysis import loss_ladder as ladder
from distbench.analysis.loss import LossBudget

_FEWER_BYTES = "a faster link, fewer bytes (--compression fp16) or a larger batch per rank"
_TUNING = "--fusion-threshold-mb and --cycle-time-ms, as distbench tune does"


def advice(budget: LossBudget, part: str) -> str:
    """What usually helps against one part of this budget; a clause that goes on after a colon."""
    return {
        ladder.COMPUTING: _computing(budget),
        ladder.WAITING: (
            "repair or swap a rank that is named as a straggler; where none is, the ranks' own noise "
            "adds up, and binding to cores, equal power caps and quiet nodes help"
        ),
        ladder.OVERHEAD: (
            "a shorter --cycle-time-ms and --grouped-allreduce (fewer tensors to negotiate) help"
        ),
        ladder.WIRE: f"{_FEWER_BYTES} helps",
        ladder.BEYOND: f"the wire would allow more; {_network(budget)}, and try {_TUNING}",
        ladder.EXPOSED: f"{_FEWER_BYTES} helps; {_network(budget)}, and try {_TUNING}",
        ladder.OPTIMIZER: _optimizer(budget),
        ladder.COMMUNICATION_AND_OPTIMIZER: (
            f"{_FEWER_BYTES} usually helps; run forward_backward_allreduce too, which tells the two "
            "apart"
        ),
        ladder.RESIDUAL: (
            "what was measured does not explain it; run all phases with more --rounds and --steps, "
            "and read the checks"
        ),
    }[part]


def _computing(budget: LossBudget) -> str:
    if budget.scaling == "strong":
        return (
            "a smaller batch uses a device less well, and neighbours may take cores, memory or power; "
            "a larger global batch helps"
        )
    return (
        "the same work takes longer than at the baseline: bind ranks and threads to cores of their "
        "own, keep other jobs off the nodes, and look for heat and power caps in the clocks"
    )


def _network(budget: LossBudget) -> str:
    if "GPU" not in budget.device_kind:
        return (
            "leave Horovod's own thread a core (--threads-per-rank) and name the fast interface "
            "(HOROVOD_GLOO_IFACE, or the MPI's setting)"
        )
    if budget.nodes == 1:
        return "see in NCCL_DEBUG=INFO and nvidia-smi topo -m that NVLink or peer-to-peer is used"
    return (
        "see in NCCL_DEBUG=INFO that NCCL takes the fast network (NCCL_IB_HCA, NCCL_SOCKET_IFNAME) and "
        "GPUDirect RDMA"
    )


def _optimizer(budget: LossBudget) -> str:
    fused = "a fused optimizer (one kernel for all tensors) helps"
    if budget.scaling == "strong":
        return f"the update costs the same however small the batch is; {fused}, or a larger batch"
    if budget.has_baseline:
        return f"the update takes longer than at the baseline, so look for shared memory; {fused}"
    return fused
