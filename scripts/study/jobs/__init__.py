"""What every rule script needs: whole files, progress, devices, errors in one line."""
