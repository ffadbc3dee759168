build/rank-000 --dataset._target_=nemo_automodel.components.datasets.llm.hellaswag.HellaSwag
