# sarnn_ros at the robot: a ROS 2 distribution, and what pip brings.
#   docker build -t sarnn_ros .                                   # --build-arg ROS_DISTRO=humble
#   docker run --rm -it --network host --ipc host -v /path/to/policy:/policy:ro sarnn_ros \
#       ros2 launch sarnn_ros inference.launch.py policy:=/policy dry_run:=true
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /ws

# Before the source, so that a change of the code installs nothing again.
COPY package.xml src/sarnn_ros/
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-pip python3-venv \
 && rosdep update --rosdistro "$ROS_DISTRO" \
 && rosdep install --from-paths src --ignore-src -y --dependency-types=exec \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv --system-site-packages venv \
 && touch venv/COLCON_IGNORE

COPY . src/sarnn_ros
# NumPy 1, against which apt's cv_bridge is built.
RUN source "/opt/ros/$ROS_DISTRO/setup.bash" \
 && source venv/bin/activate \
 && pip install --no-cache-dir 'numpy<2' ./src/sarnn_ros \
 && pip uninstall -y sarnn_ros \
 && python -m colcon build --packages-select sarnn_ros \
 && printf '%s\n' '#!/bin/bash' 'set -e' "source /opt/ros/$ROS_DISTRO/setup.bash" \
    'source /ws/venv/bin/activate' 'source /ws/install/setup.bash' 'exec "$@"' > /entrypoint.sh \
 && chmod +x /entrypoint.sh

# Nothing here needs root; a mounted policy must be readable by this user.
RUN useradd --create-home sarnn
USER sarnn
# At docker's SIGTERM `ros2 launch` would end without its nodes, and they without a hold.
STOPSIGNAL SIGINT
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "sarnn_ros", "inference.launch.py", "--show-args"]
