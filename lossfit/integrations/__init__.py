"""Lossfit inside of training libraries and trackers, one module a library.

=====================================  ====================================================
module                                 what it has
=====================================  ====================================================
``lossfit.integrations.huggingface``   ``LossfitCallback`` for the Trainer of Transformers
``lossfit.integrations.lightning``     ``LossfitCallback`` for the Trainer of Lightning
``lossfit.integrations.keras``         ``LossfitCallback`` for ``fit`` of Keras
``lossfit.integrations.wandb``         ``report`` to a run, ``runs`` of a project
``lossfit.integrations.mlflow``        ``report`` to a run, ``runs`` of an experiment
``lossfit.integrations.tensorboard``   ``report`` to a writer or a folder
``lossfit.integrations.optuna``        ``LossfitPruner``
=====================================  ====================================================

Each is an extra of that name, ``pip install 'lossfit[wandb]'``, and imports its library only when
it is imported itself.  In other loops, use `lossfit.Monitor` alone.
"""
