"""Two nodes of Ray on this machine: `python ray_cluster.py`.

It prints the address. A line on its standard input kills the second node; its end ends all.
"""

import sys

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 100_000_000}


def main():
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    second = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    if sys.stdin.readline():
        cluster.remove_node(second, allow_graceful=False)
        sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
