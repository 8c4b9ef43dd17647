"""What users and authors of sources and sinks read: jobs, transforms, protocols, reports. No I/O."""
