"""What lies on disk: run folders, checkpoints, exports, and how a RUN is found."""
