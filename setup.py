# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Name, version, dependencies and installed files, for pip and for colcon alike.

There is no `[project]` table in a pyproject.toml on purpose: setuptools of the older distros
choke on it. What apt provides is in package.xml.
"""

import sys
from glob import glob

from setuptools import find_packages, setup

NAME = "sarnn_ros"

# Each side installs what the other puts there by itself: colcon puts the entry points under
# lib/sarnn_ros (setup.cfg), where `ros2 run` and `ros2 launch` look, pip puts them in bin, where
# the shell looks.
BUILT_BY_PIP = bool({"bdist_wheel", "editable_wheel"} & {*sys.argv})
if BUILT_BY_PIP:
    OTHER_SCRIPTS = (f"lib/{NAME}", sorted(glob("scripts/for_pip/*")))
else:
    OTHER_SCRIPTS = ("bin", sorted(glob("scripts/for_colcon/*")))

# The ROS wheels exist for Linux on x86-64 only; elsewhere ROS comes from a distribution.
WHEELS = "; sys_platform == 'linux' and platform_machine == 'x86_64'"

TRAIN = [
    "torch>=2.6",
    "onnxscript>=0.5",  # torch.onnx needs it
    "safetensors>=0.4",
    "tensorboard>=2.16",
    "matplotlib>=3.8",
]
SIM = ["mujoco-core>=4.0", "matplotlib>=3.8", "av>=15"]
LEROBOT = ["pyarrow>=21", "av>=15"]
HDF5 = ["h5py>=3.10", "av>=15"]  # RoboManipBaselines keeps films beside the HDF5
WEB = ["starlette>=0.40", "uvicorn>=0.30"]
# Pins, as the wheels of one distro must match each other.
ROS = [
    "ros-jazzy-rclpy==7.1.6" + WHEELS,
    "ros-jazzy-rmw-fastrtps-cpp==8.4.3" + WHEELS,
    "ros-jazzy-common-interfaces==5.3.6" + WHEELS,
]
KILTED = [  # instead of, never beside, Jazzy's
    "ros-kilted-rclpy==9.1.2" + WHEELS,
    "ros-kilted-rmw-fastrtps-cpp==9.3.3" + WHEELS,
    "ros-kilted-common-interfaces==5.5.1" + WHEELS,
]
# In an environment of its own (make benchmark-tasks): gymnasium-robotics fails on MuJoCo 4.0.
BENCHMARK = [
    "gym-aloha>=0.1.5",
    "gymnasium-robotics>=1.4.2",
    "mujoco==3.3.7",
    *LEROBOT,  # peers read what `sarnn convert` writes
]
TEST = [
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "pytest-cov>=6",
    "coverage>=7.10",  # counts in the processes that tests start, too
    "gymnasium>=1.0",
    "hypothesis>=6.100",
    "psutil>=5.9",
    "scikit-image>=0.24",  # photographs, which come with its wheel
    "colcon-common-extensions>=0.3",
    "empy<4",  # rosidl's generators, with which the tests make types that no wheel has
    "py-trees>=2.2",  # the example of docs/how-to/behavior_trees.md
]
DEV = ["ruff>=0.8", "mypy>=1.13", "types-PyYAML", "types-psutil", "pre-commit>=4"]
DOCS = ["sphinx>=7.4", "myst-parser>=4", "furo", "sphinxcontrib-mermaid>=1"]

setup(
    name=NAME,
    version="0.1.0",
    description="SARNN: learn a robot skill from rosbags and run it as a ROS 2 node",
    author="The sarnn_ros authors",
    author_email="sarnn-ros@users.noreply.example.org",
    maintainer="The sarnn_ros authors",
    maintainer_email="sarnn-ros@users.noreply.example.org",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        f"{NAME}.sim": ["*.xml"],
        f"{NAME}.ros.web": ["page.*"],
        NAME: ["py.typed"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", sorted(glob("launch/*.launch.py"))),
        (f"share/{NAME}/config", sorted(glob("config/*"))),
        OTHER_SCRIPTS,
    ],
    zip_safe=False,
    install_requires=[
        "numpy>=1.24,<2.3",  # cv-bridge is built against the older ABI
        "opencv-python-headless>=4.9,<5",
        "cv-bridge>=1.13",
        "lz4>=4",  # unpacks with a bound
        "mcap>=1.2",  # reads what a cut-off bag still holds
        "onnx>=1.16",  # looks at a graph before it is run
        "onnxruntime>=1.18",
        "pydantic>=2.5",
        "PyYAML>=6",
        "rosbags>=0.11,<0.12",
        "rich>=13",
        "typer>=0.12",
        "zstandard>=0.22",
    ],
    extras_require={
        "train": TRAIN,
        "sim": SIM,
        "ros": ROS,
        "kilted": KILTED,
        "lerobot": LEROBOT,
        "hdf5": HDF5,
        "web": WEB,
        "benchmark": BENCHMARK,
        "test": TEST,
        "dev": DEV,
        "docs": DOCS,
    },
    entry_points={
        "console_scripts": [
            "sarnn = sarnn_ros.cli.main:main",
            "inference_node = sarnn_ros.ros.inference_node:main",
            "recorder_node = sarnn_ros.ros.recorder_node:main",
            "sim_node = sarnn_ros.sim.node:main",
        ]
    },
)
