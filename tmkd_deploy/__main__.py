"""`python -m tmkd_deploy` is `tmkd-deploy`."""

import sys

from tmkd_deploy.cli.main import main

sys.exit(main())
