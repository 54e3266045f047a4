"""The container runtime interface (CRI), as a kubelet speaks it to containerd: over gRPC, at a Unix socket.

Only the calls and fields that are used here; names and numbers are those of k8s.io/cri-api, runtime.v1.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.json_format import MessageToDict, ParseDict

__all__ = ["Refused", "RuntimeInterface"]

_MESSAGES: Final = """
VersionRequest version:string=1
VersionResponse runtime_name:string=2 runtime_version:string=3
StatusRequest
StatusResponse status:RuntimeStatus=1
RuntimeStatus conditions:*RuntimeCondition=1
RuntimeCondition type:string=1 status:bool=2 message:string=4

RunPodSandboxRequest config:PodSandboxConfig=1
RunPodSandboxResponse pod_sandbox_id:string=1
StopPodSandboxRequest pod_sandbox_id:string=1
StopPodSandboxResponse
RemovePodSandboxRequest pod_sandbox_id:string=1
RemovePodSandboxResponse
PodSandboxStatusRequest pod_sandbox_id:string=1
PodSandboxStatusResponse status:PodSandboxStatus=1
PodSandboxStatus id:string=1 network:PodSandboxNetworkStatus=5
PodSandboxNetworkStatus ip:string=1
PodSandboxConfig metadata:PodSandboxMetadata=1 hostname:string=2 log_directory:string=3 linux:LinuxPodSandboxConfig=8
PodSandboxMetadata name:string=1 uid:string=2 namespace:string=3 attempt:uint32=4
LinuxPodSandboxConfig cgroup_parent:string=1 security_context:LinuxSandboxSecurityContext=2
LinuxSandboxSecurityContext namespace_options:NamespaceOption=1 privileged:bool=6 seccomp:SecurityProfile=9
NamespaceOption network:int32=1 pid:int32=2 ipc:int32=3
SecurityProfile profile_type:int32=1

CreateContainerRequest pod_sandbox_id:string=1 config:ContainerConfig=2 sandbox_config:PodSandboxConfig=3
CreateContainerResponse container_id:string=1
StartContainerRequest container_id:string=1
StartContainerResponse
StopContainerRequest container_id:string=1 timeout:int64=2
StopContainerResponse
RemoveContainerRequest container_id:string=1
RemoveContainerResponse
ContainerStatusRequest container_id:string=1
ContainerStatusResponse status:ContainerStatus=1
ContainerStatus id:string=1 state:int32=3 exit_code:int32=7 reason:string=10 message:string=11
ExecSyncRequest container_id:string=1 cmd:*string=2 timeout:int64=3
ExecSyncResponse stdout:bytes=1 stderr:bytes=2 exit_code:int32=3
ContainerConfig metadata:ContainerMetadata=1 image:ImageSpec=2 command:*string=3 args:*string=4 envs:*Entry=6 mounts:*Mount=7 \
annotations:*Entry=10 log_path:string=11 linux:LinuxContainerConfig=15
ContainerMetadata name:string=1 attempt:uint32=2
ImageSpec image:string=1
Mount container_path:string=1 host_path:string=2 readonly:bool=3 recursive_read_only:bool=8
LinuxContainerConfig resources:LinuxContainerResources=1 security_context:LinuxContainerSecurityContext=2
LinuxContainerResources cpu_period:int64=1 cpu_quota:int64=2 cpu_shares:int64=3 \
memory_limit_in_bytes:int64=4 oom_score_adj:int64=5
LinuxContainerSecurityContext capabilities:Capability=1 privileged:bool=2 namespace_options:NamespaceOption=3 \
run_as_user:Int64Value=5 readonly_rootfs:bool=7 supplemental_groups:*int64=8 no_new_privs:bool=11 masked_paths:*string=13 \
readonly_paths:*string=14 seccomp:SecurityProfile=15
Capability add_capabilities:*string=1 drop_capabilities:*string=2
Int64Value value:int64=1
Entry key:string=1 value:string=2
"""
_SERVICE: Final = "/runtime.v1.RuntimeService/"


class Refused(Exception):
    """The runtime's own message."""


def _messages() -> dict[str, Any]:
    """Classes by name. A map is on the wire what a list of entries is."""
    file = descriptor_pb2.FileDescriptorProto(name="forklore/runtime.proto", package="runtime.v1", syntax="proto3")
    for line in filter(None, _MESSAGES.split("\n")):
        name, *fields = line.split()
        message = file.message_type.add(name=name)
        for field in fields:
            parts = re.fullmatch(r"(\w+):(\*?)(\w+)=(\d+)", field)
            if parts is None:
                raise ValueError(field)
            one = message.field.add(name=parts[1], number=int(parts[4]), label=3 if parts[2] else 1)
            if parts[3][0].isupper():
                one.type, one.type_name = 11, f".runtime.v1.{parts[3]}"
            else:
                one.type = {"int64": 3, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "uint32": 13}[parts[3]]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = [message.name for message in file.message_type]
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"runtime.v1.{name}")) for name in names}


class RuntimeInterface:
    def __init__(self, socket: Path) -> None:
        import grpc  # noqa: PLC0415  only here is it needed, and not every machine that imports this has it

        self._trouble = grpc.RpcError
        self._messages = _messages()
        self._channel = grpc.insecure_channel(f"unix://{socket}")

    def call(self, method: str, *, patience_s: float = 120.0, **fields: object) -> dict[str, Any]:
        """The answer's fields by name, those that have their default, too. Raises Refused."""
        asked, answered = self._messages[f"{method}Request"], self._messages[f"{method}Response"]
        ask = self._channel.unary_unary(_SERVICE + method, asked.SerializeToString, answered.FromString)
        try:
            answer = ask(ParseDict(fields, asked()), timeout=patience_s)
        except self._trouble as error:
            raise Refused(f"{method}: {error.details()}") from error
        if method == "ExecSync":  # bytes, which JSON would make base64 of
            return {"stdout": answer.stdout.decode(), "stderr": answer.stderr.decode(), "exit_code": answer.exit_code}
        return dict(MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))

    def close(self) -> None:
        self._channel.close()
