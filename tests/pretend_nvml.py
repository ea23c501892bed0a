"""NVML for machines without a GPU: pretend devices that answer as the driver would."""

from types import SimpleNamespace

GIB = 2**30


class NVMLError(Exception):
    """Of pynvml."""


class Nvml:
    """Stands in for the module ``pynvml``. ``free``: free memory of each device, GiB; None: it is kept from us."""

    NVMLError = NVMLError

    def __init__(self, *free, mute=()):
        self.free, self.mute = free, mute
        self.processes, self.energy = [], 0

    def __getattribute__(self, name):
        if name.startswith("nvml") and name in object.__getattribute__(self, "mute"):
            raise NVMLError(f"{name}: not supported")
        return object.__getattribute__(self, name)

    def nvmlInit(self):
        pass

    def nvmlDeviceGetCount(self):
        return len(self.free)

    def nvmlDeviceGetHandleByIndex(self, index):
        if self.free[index] is None:
            raise NVMLError("no permission")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid != "MIG-a1":
            raise NVMLError("not found")
        return 0

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{handle}0ff"

    def nvmlDeviceGetName(self, handle):
        return "Pretend GPU"

    def nvmlDeviceGetMemoryInfo(self, handle):
        free = self.free[handle] * GIB
        return SimpleNamespace(free=free, used=80 * GIB - free, total=80 * GIB)

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=50)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return self.processes

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        self.energy += 2500
        return self.energy
