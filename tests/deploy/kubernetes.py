"""What schemas cannot tell about the manifests: that their parts fit each other, and fit the gateway.

    kubernetes.py MANIFESTS PROGRAM FOLDER

FOLDER has tls.crt, tls.key and redox-token, which stand in for the secrets. Prints a line for each thing checked.
"""

import pathlib
import re
import subprocess
import sys

import yaml

# Seconds between the end of a drain and the end of the pod.
MARGIN = 10
PLACES = {"/etc/countersign", "/run/secrets"}


def is_part(small, large):
    """Whether a selector picks these labels."""
    return bool(small) and small.items() <= large.items()


def seconds(text):
    """A duration of the effective configuration."""
    number, unit = re.fullmatch(r"([0-9.]+)(ms|s|m|h)", text).groups()
    return float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def run(program, command, path):
    return subprocess.run([program, *command, "-c", path], check=False, capture_output=True, text=True)


def configuration(objects, pod, program, folder):
    """The gateway.yaml that the pod gets, checked and completed by the program itself."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    name = volumes["configuration"]["configMap"]["name"]
    (text,) = [o["data"]["gateway.yaml"] for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == name]
    path = pathlib.Path(folder, "gateway.yaml")
    path.write_text(text.replace("/run/secrets", folder), encoding="utf-8")
    told = run(program, ["check", "--strict"], path)
    assert told.returncode == 0, told.stderr
    print("ok      the configuration passes `check --strict`")
    return yaml.safe_load(run(program, ["config", "show"], path).stdout)


def hardened(pod, container):
    own, shared = container["securityContext"], pod["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    assert shared["runAsNonRoot"] is True and shared["runAsUser"] == 65532
    assert shared["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert "memory" in container["resources"]["limits"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert set(mounts) == PLACES and not any("subPath" in mount for mount in mounts.values())
    assert all(mount["readOnly"] for mount in mounts.values())
    print("ok      user, root, capabilities, seccomp, token, folders")


def timing(pod, container, settings):
    wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = pod["terminationGracePeriodSeconds"]
    timeouts = settings["timeouts"]
    drain = seconds(timeouts["drain_delay"]) + seconds(timeouts["drain"])
    assert grace >= wait + drain + MARGIN, f"{grace} s to end in, and {wait} s + {drain} s + {MARGIN} s are needed"
    assert seconds(timeouts["drain"]) > seconds(timeouts["response"])
    print(f"ok      {grace} s to end in: {wait} s before the signal, {drain:.0f} s of drain, and some more")


def ports(objects, container, settings):
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    (listener,) = settings["listeners"]
    assert named["https"] == int(listener["address"].rsplit(":", 1)[1])
    assert settings["admin"]["address"] == f"0.0.0.0:{named['admin']}"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] == "admin" and asked["path"] in ("/readyz", "/healthz"), probe
    (policy,) = [o["spec"] for o in objects if o["kind"] == "NetworkPolicy" and o["metadata"]["name"] == "countersign"]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == ["https"]
    (upstream,) = [route["upstream"]["url"] for route in settings["routes"]]
    host, port = re.fullmatch(r"https?://([^/:]+):([0-9]+).*", upstream).groups()
    out = policy["egress"][0]
    assert out["to"] == [{"ipBlock": {"cidr": f"{host}/32"}}] and out["ports"][0]["port"] == int(port), upstream
    names = policy["egress"][1]["to"][0]["podSelector"]["matchLabels"]
    assert names == {"k8s-app": "kube-dns"}, names
    print("ok      ports of listener, probes, services and policies are the same")
    balancer = [o for o in objects if o["kind"] == "Service" and o["spec"].get("type") == "LoadBalancer"]
    proxied = "service.beta.kubernetes.io/aws-load-balancer-proxy-protocol"
    told = any(proxied in o["metadata"].get("annotations", {}) for o in balancer)
    assert told == (listener["proxy_protocol"] == "required") and told == bool(settings["trusted_proxies"])
    print(f"ok      PROXY protocol: {'on' if told else 'off'}, at the balancer and at the gateway")


def selectors(objects, deployment):
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert is_part(deployment["spec"]["selector"]["matchLabels"], labels)
    for o in objects:
        spec = o.get("spec", {})
        picks = {
            "Service": lambda: spec["selector"],
            "PodDisruptionBudget": lambda: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda: spec["podSelector"]["matchLabels"],
        }.get(o["kind"])
        assert picks is None or is_part(picks(), labels), o["metadata"]["name"]
    for monitor in (o for o in objects if o["kind"] == "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        found = [o for o in objects if o["kind"] == "Service" and is_part(wanted, o["metadata"].get("labels", {}))]
        assert len(found) == 1, [o["metadata"]["name"] for o in found]
        offered = {port["name"] for port in found[0]["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= offered
    scaler = [o["spec"]["scaleTargetRef"]["name"] for o in objects if o["kind"] == "HorizontalPodAutoscaler"]
    assert scaler in ([], [deployment["metadata"]["name"]])
    assert bool(scaler) != ("replicas" in deployment["spec"]), "the number of instances is said twice or never"
    assert deployment["spec"].get("replicas", 2) == 2
    update = deployment["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxSurge": 1, "maxUnavailable": 0}
    print("ok      selectors pick the pods they are for")


def main(manifests, program, folder):
    with open(manifests, encoding="utf-8") as text:
        objects = [o for o in yaml.safe_load_all(text) if o]
    (deployment,) = [o for o in objects if o["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    settings = configuration(objects, pod, program, folder)
    hardened(pod, container)
    timing(pod, container, settings)
    ports(objects, container, settings)
    selectors(objects, deployment)


if __name__ == "__main__":
    main(*sys.argv[1:])
