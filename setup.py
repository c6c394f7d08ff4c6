from setuptools import find_packages, setup

setup(
    name="sarnn_ros",
    version="0.1.0",
    packages=find_packages(include=["sarnn_ros", "sarnn_ros.*"]),
    entry_points={"console_scripts": [
        "sarnn = sarnn_ros.cli.main:main",
        "inference_node = sarnn_ros.nodes.inference_node:main",
        "sim_node = sarnn_ros.sim.node:main",
    ]},
)
