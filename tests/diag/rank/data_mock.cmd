build/rank-000 --dataset._target_=nemo_automodel.components.datasets.llm.mock_iterable_dataset.MockIterableDataset
