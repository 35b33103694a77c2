"""Two Ray nodes on 127.0.0.1: prints their address, loses one for a line of input, ends for another."""

import os
import sys

os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}  # 127.0.0.1 alone

from ray.cluster_utils import Cluster  # noqa: E402

if __name__ == "__main__":
    size = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "node_ip_address": "127.0.0.1"}
    cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    try:
        second = cluster.add_node(**size)
        print(cluster.address, flush=True)
        if sys.stdin.readline():
            cluster.remove_node(second, allow_graceful=False)
            print("lost", flush=True)
            sys.stdin.readline()
    finally:
        cluster.shutdown()
